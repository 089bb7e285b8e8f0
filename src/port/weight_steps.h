// Weights that a donor reads whole and a checkpoint stores in parts, or the other way round.
#pragma once

#include <vector>

#include "graph/trace.h"
#include "hub/checkpoint.h"
#include "port/port_sources.h"

namespace lockstep::port {

/// The steps that give the donor what `audit` says is missing: q, k and v joined or taken out of
/// one projection, and gate and up. Bit-exact: rows are only put one after the other. Without the
/// numbers of deltas.
std::vector<WeightStep> find_weight_steps(const Audit& audit, const Checkpoint& headers);

}  // namespace lockstep::port
