// One architecture traced against a model that is not its own: what fits, what does not, and what
// had to be changed in the configuration for the trace to go on.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "graph/trace.h"
#include "port/candidate.h"

namespace lockstep::port {

/// A key that the donor was given otherwise than config.json has it.
struct Substitution {
  enum class Why {
    kRefused,   // the donor refused the value, `text` says why; it got its own default
    kRequired,  // the donor cannot do without the key; it got the smallest value
    kAlias,     // config.json has it under the name `text`
    kDefault,   // config.json lacks it, and the donor's default does not fit; it got `text`
    kAssumed,   // as kDefault, but no tensor says so: the donor would do something unasked
  };
  Why why;
  std::string key, text;
};

/// Something a donor does that no name shows: found in its graph.
struct Trait {
  std::string name;                   // one word, stable: "unit_offset"
  std::string part, aspect;           // as of Topic
  std::string text;                   // "adds 1 to the weights of norms"
  std::vector<std::string> evidence;  // patterns of the keys that ask for it
  bool is_asked = false;              // by a key of the model's config.json

  bool is_evidence(std::string_view key) const;
};

struct DonorTrace {
  std::optional<Trace> trace;  // none: `failure` says why it could not go on
  std::string failure;
  std::vector<Substitution> substitutions;
  std::vector<std::string> unread;  // as config.json names them
  std::vector<std::string> missed;  // keys the donor asks for and config.json lacks
  std::vector<Trait> traits;
};

DonorTrace trace_donor(const LockstepArchitecture& donor, const Candidate& candidate);

/// Every trait of a graph.
std::vector<Trait> traits_of(const Graph& graph);

}  // namespace lockstep::port
