// Tracing: runs an architecture's build() against config.json and tensor headers, without weights.
// This is the dry build (every shape and dtype error) and the state-dict audit, both ways.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"
#include "hub/checkpoint.h"
#include "hub/config.h"
#include "lockstep/abi.h"

namespace lockstep {

/// What the graph needs against what the checkpoint has.
struct Audit {
  struct Dropped {
    std::string stored, reason;
  };
  struct Tie {
    std::string path, source;  // parameter paths
    std::string stored;        // the tensor both read
    /// The checkpoint stores both; the reference shares them only if they are equal, which only
    /// the data can tell (runtime/weights.h).
    bool stored_twice = false;
  };
  /// A tensor with more rows than the model has, of which the first are used.
  struct Shortened {
    std::string path, stored;
    int64_t n_rows, n_stored;
  };
  std::vector<std::string> missing;     // one line each: path, expected type
  std::vector<std::string> mismatched;  // path, expected, found, file
  std::vector<std::string> surplus;     // stored names nobody wanted
  std::vector<Dropped> dropped;
  std::vector<Tie> ties;
  std::vector<Shortened> shortened;
  /// How names bind: "" as they are, "+model." or "-model." where the base-model prefix differs.
  std::string prefix_change;
  /// The file or folder of the weights, for messages.
  std::string location;

  bool holds() const { return missing.empty() && mismatched.empty() && surplus.empty(); }
};

/// Which keys of config.json a port asked for, and what it takes where they are absent.
struct ConfigReads {
  struct Read {
    std::string path;          // dotted, as config.json has it
    std::string default_json;  // empty: unknown, or the key is required
    std::string module;        // the module call under way; mostly none: configs are read first
  };
  std::vector<Read> reads;  // each path once, in order
};

struct Trace {
  Graph graph;
  Audit audit;
};

/// Throws the port's own errors, prefixed with config.json and the module path; mismatched shapes
/// found until then come first, since they are mostly the cause. The audit is filled, not judged.
/// `reads`, where given, is filled even where this throws.
Trace trace(const LockstepArchitecture& architecture, const ConfigFile& config,
            const Checkpoint& checkpoint, DType activation_dtype, ConfigReads* reads = nullptr);

/// Throws kFailedPrecondition with at most eight lines of each kind when the audit does not hold.
void require(const Audit& audit, const std::string& architecture);

}  // namespace lockstep
