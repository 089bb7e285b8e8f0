// The gate logits_multi against a server that runs: what it says follows prefixes of a prompt.
#pragma once

#include <string>

#include "client/target.h"
#include "port/gates.h"

namespace lockstep::cli {

/// `slug` is what the server is asked for. Skipped where the port does not load. Fails for a server
/// that differs and for one that gives nothing to compare. Throws kUnavailable where nobody
/// answers, and as read_recording().
port::Gate served_gate(const port::GateRun& run, const std::string& slug,
                       const client::Target& target, const std::string& reference);

}  // namespace lockstep::cli
