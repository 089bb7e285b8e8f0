#include "ops/torch_powers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace lockstep {
namespace {

struct Power {
  float base;
  int dim, i;
  float value;
};

// torch 2.14.1 on a machine with AVX-512: base ** (torch.arange(0, dim, 2).float() / dim)[i]. Of
// 10,780 powers these are of the few where a correctly rounded one, or the vector function where
// torch's vectors end, is another.
constexpr Power kPowers[] = {
    {50000, 64, 5, 0x1.5b0d36p+2f},      {50000, 128, 47, 0x1.60f3dp+11f},
    {100000, 80, 28, 0x1.8b48dep+11f},   {150000, 64, 10, 0x1.4b9a62p+5f},
    {1000000, 128, 37, 0x1.6fd744p+11f}, {2000000, 64, 24, 0x1.9f7decp+15f},
    {2000000, 128, 43, 0x1.0b801ep+14f}, {5000000, 128, 19, 0x1.85c706p+6f},
    {10000, 48, 10, 0x1.7353bcp+5f},     {100000, 80, 39, 0x1.24ed72p+16f},
    {2000000, 48, 18, 0x1.9f7deap+15f},  {10000000, 80, 34, 0x1.b32e68p+19f},
};

TEST(TorchPowers, HaveTorchsBits) {
  for (const Power& power : kPowers) {
    std::vector<float> values;
    for (int i = 0; i < power.dim; i += 2) {
      values.push_back(static_cast<float>(i) / static_cast<float>(power.dim));
    }
    torch_powers(power.base, values, values.data());
    EXPECT_EQ(values[static_cast<size_t>(power.i)], power.value)
        << power.base << " " << power.dim << " " << power.i;
  }
}

TEST(TorchPowers, TakesAnyNumber) {
  for (const size_t n : {0, 1, 5, 31, 32, 33, 64, 100}) {
    const std::vector<float> exponents(n, 0.5f);
    std::vector<float> out(n + 1, -1.0f);
    torch_powers(16.0f, exponents, out.data());
    for (size_t i = 0; i < n; ++i) EXPECT_EQ(out[i], 4.0f);
    EXPECT_EQ(out[n], -1.0f);
  }
}

}  // namespace
}  // namespace lockstep
