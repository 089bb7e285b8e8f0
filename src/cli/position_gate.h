// The gate logits_multi: a port's logits at several lengths of a prompt.
#pragma once

#include <string>

#include "cli/model_options.h"
#include "port/gates.h"

namespace lockstep::cli {

/// Skipped where a gate that it needs did not hold. Throws for a recording that cannot be read, and
/// kInvalidArgument for one without logits of a prompt.
port::Gate position_gate(const port::GateReport& preflight, const ModelOptions& model,
                         const std::string& reference);

}  // namespace lockstep::cli
