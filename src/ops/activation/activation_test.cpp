#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

double expected(std::string_view fn, double x) {
  const double gelu_tanh =
      0.5 * x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
  if (fn == "silu") return x / (1 + std::exp(-x));
  if (fn == "gelu") return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  if (fn == "gelu_pytorch_tanh" || fn == "gelu_new" || fn == "gelu_fast") return gelu_tanh;
  if (fn == "quick_gelu") return x / (1 + std::exp(-1.702 * x));
  if (fn == "relu") return std::max(x, 0.0);
  if (fn == "relu2") return std::max(x, 0.0) * std::max(x, 0.0);
  if (fn == "sigmoid") return 1 / (1 + std::exp(-x));
  return std::tanh(x);
}

TEST(Activation, FollowsTheFormulas) {
  for (const char* fn : {"silu", "gelu", "gelu_pytorch_tanh", "gelu_new", "gelu_fast", "quick_gelu",
                         "relu", "relu2", "sigmoid", "tanh"}) {
    for (const char* kernel : {"ref", "cpu.simd"}) {
      OpRun r("activation", std::string("a float32[4001]~sweep:-20:20 .fn=") + fn, kernel);
      r.run();
      for (int64_t i = 0; i < 4001; ++i) {
        const double y = expected(fn, r.in(0, i));
        // The formulas themselves cancel for large negative x, by up to 1e-15.
        EXPECT_NEAR(r.out(i), y, 1.3e-7 * std::abs(y) + 1e-13) << fn << " of " << r.in(0, i);
      }
    }
  }
}

TEST(Activation, InfinitiesAndNanPassAsTheyShould) {
  for (const char* kernel : {"ref", "cpu.simd"}) {
    for (const char* fn : {"silu", "gelu", "gelu_new", "sigmoid", "tanh", "relu", "relu2"}) {
      OpRun r("activation", std::string("a float32[3]~normal .fn=") + fn, kernel);
      r.inputs[0].data<float>()[0] = INFINITY;
      r.inputs[0].data<float>()[1] = NAN;
      r.run();
      const bool is_bounded = std::string_view(fn) == "sigmoid" || std::string_view(fn) == "tanh";
      EXPECT_EQ(r.out(0), is_bounded ? 1.0 : INFINITY) << fn << kernel;
      EXPECT_TRUE(std::isnan(r.out(1))) << fn << kernel;
    }
  }
}

TEST(Activation, UnknownFunctionIsRefused) {
  EXPECT_NE(OpRun("activation", "a float32[3]~normal .fn=swish").error().find("found swish"),
            std::string::npos);
}

}  // namespace
}  // namespace lockstep
