// torch.pow on float32, to the bit: what the reference computes rotary frequencies with.
#pragma once

#include <span>

namespace lockstep {

/// out[i] = base ^ exponents[i]; out may be the exponents.
void torch_powers(float base, std::span<const float> exponents, float* out) noexcept;

}  // namespace lockstep
