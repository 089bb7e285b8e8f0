#include "parity/measure/activation.h"

#include <gtest/gtest.h>

#include "parity/measure/test_matrices.h"

namespace lockstep::parity::measure {
namespace {

TEST(Activation, EachIsToldFromAllOthers) {
  const Array x = scaled(random_matrix(12, 40, 1), 2), up = random_matrix(12, 40, 2);
  for (const NamedFunction& function : functions()) {
    const Array y = noisy(map(x, function.f), kNoise);
    EXPECT_EQ(measure_function(x, {}, y, kBar), &function) << function.name;
    const Array product = map(y, up, [](double a, double b) { return a * b; });
    EXPECT_EQ(measure_function(x, up, product, kBar), &function) << function.name;
    EXPECT_EQ(measure_function(up, x, product, kBar),
              function.name == "linear" ? &function : nullptr);
  }
}

TEST(Activation, WhatIsNoneIsNotNamed) {
  const Array x = random_matrix(12, 40, 1);
  EXPECT_EQ(measure_function(x, {}, scaled(x, 1.01), kBar), nullptr);
  EXPECT_EQ(measure_function(x, {}, map(x, [](double v) { return v * v; }), kBar), nullptr);
  // So close to zero that erf and tanh agree.
  const Array small = scaled(x, 1e-5);
  EXPECT_EQ(measure_function(small, {}, map(small, find_function("gelu")->f), kBar), nullptr);
}

TEST(Activation, GatedForms) {
  const Array gate = scaled(random_matrix(6, 20, 3), 4), up = scaled(random_matrix(6, 20, 4), 4);
  GatedForm form{find_function("silu")};
  const Array plain = gated(gate, up, form);
  EXPECT_EQ(measure_function(gate, up, plain, kBar), form.function);
  form.limit = 2;
  EXPECT_GT(distance(gated(gate, up, form), plain), 1e-2);
  form = {find_function("silu")};
  form.swapped = true;
  EXPECT_EQ(distance(gated(up, gate, form), plain), 0);
  form = {find_function("silu")};
  form.alpha = 1.702;
  EXPECT_LT(distance(gated(gate, up, form), gated(gate, up, {find_function("quick_gelu")})), 1e-12);
}

}  // namespace
}  // namespace lockstep::parity::measure
