// A linear layer's weight (and bias) as other pieces of the checkpoint than its own.
#pragma once

#include <vector>

#include "fault_kind.h"

namespace lockstep::mutants {

/// What the weight at input `i` of node `n` is made of; empty where it is no weight.
std::vector<StoredPart> parts_of(const Plant& p, uint32_t n, size_t i = 1);

/// Row r of the result is row order[r] of the weight, and of the bias if there is one. False where
/// the weight is not stored as rows.
bool permute_rows(Plant& p, uint32_t n, const std::vector<int64_t>& order, size_t i = 1);

/// `n` takes the weights of `other`, bias too; false where their types differ or they are the same.
bool take_weights(Plant& p, uint32_t n, uint32_t other);
/// And the reverse.
bool exchange_weights(Plant& p, uint32_t a, uint32_t b);

}  // namespace lockstep::mutants
