// The parts of the catalogue, one a source file of this folder.
#pragma once

#include <vector>

#include "parity/explain/cause.h"

namespace lockstep::parity {

/// Constants of ops, by repair.
std::vector<Cause> attribute_causes();

}  // namespace lockstep::parity
