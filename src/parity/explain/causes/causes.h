// The parts of the catalogue, one a source file of this folder.
#pragma once

#include <vector>

#include "parity/explain/cause.h"

namespace lockstep::parity {

/// Constants of ops.
std::vector<Cause> attribute_causes();
/// What ops read, and values that are handed on.
std::vector<Cause> input_causes();
/// What weights hold.
std::vector<Cause> weight_causes();
/// Inputs that ops take in another form than they are given.
std::vector<Cause> form_causes();

}  // namespace lockstep::parity
