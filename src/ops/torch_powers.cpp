#include "ops/torch_powers.h"

#include <immintrin.h>
#include <sleef.h>

#include <cmath>

namespace lockstep {

// torch takes two vectors of AVX-512 at a time with SLEEF's function, whose lanes do not depend on
// each other, and what is left with the C library's. (On a machine without AVX-512 its vectors are
// half as long, and some of what is left here is not there.)
void torch_powers(float base, std::span<const float> exponents, float* out) noexcept {
  constexpr size_t kBlock = 32, kLanes = 4;
  const size_t in_blocks = exponents.size() / kBlock * kBlock;
  for (size_t i = 0; i < in_blocks; i += kLanes) {
    const __m128 powers = Sleef_powf4_u10(_mm_set1_ps(base), _mm_loadu_ps(&exponents[i]));
    _mm_storeu_ps(out + i, powers);
  }
  for (size_t i = in_blocks; i < exponents.size(); ++i) out[i] = std::pow(base, exponents[i]);
}

}  // namespace lockstep
