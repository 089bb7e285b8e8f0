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

/// By formula, of numbers measured on both sides.
std::vector<Cause> rotation_causes();
std::vector<Cause> norm_causes();
std::vector<Cause> product_causes();
std::vector<Cause> sum_causes();
std::vector<Cause> attention_causes();
std::vector<Cause> routing_causes();
std::vector<Cause> cache_causes();
std::vector<Cause> partial_product_causes();
std::vector<Cause> embedding_causes();
std::vector<Cause> rounding_causes();
std::vector<Cause> state_causes();

}  // namespace lockstep::parity
