// Log probabilities of the raw distribution: what a model says of a position before any sampling
// parameter.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/request.h"

namespace lockstep {

/// Log softmax of `logits` (maximum subtracted, exponentials summed in float64) at `chosen`, its
/// rank, and the `n_top` likeliest ids (-1: all), of equals the lowest first. `scratch` is kept
/// between calls so that only the result is allocated.
PositionLogprobs position_logprobs(std::span<const float> logits, int32_t chosen, int64_t n_top,
                                   std::vector<int32_t>& scratch);

}  // namespace lockstep
