// What a donor has to be told instead of config.json so that it can be traced against a model of
// another class: the keys it refuses, and those it misses.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "graph/trace.h"
#include "port/candidate.h"
#include "port/donor_trace.h"

namespace lockstep::port {

/// One key that reads otherwise than config.json has it.
struct ConfigMask {
  Substitution::Why why;
  std::string key;
  std::optional<std::string> json;  // none: as if it were absent
  std::string other;                // of an alias: the key that config.json has
  int delta = 0;                    // the number of the delta that it is part of
};

struct MaskedTrace {
  std::vector<ConfigMask> masks;
  std::optional<Trace> trace;  // none: `failure` says why
  std::string failure;
};

/// Traces `donor` against the candidate's config.json and headers, with as few masks as let it.
MaskedTrace trace_with_masks(const LockstepArchitecture& donor, const Candidate& candidate);

}  // namespace lockstep::port
