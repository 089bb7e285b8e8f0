#include "ops/reshape/reshape.h"

#include <gtest/gtest.h>

namespace lockstep {
namespace {

TensorType infer(const TensorType& x, std::vector<int64_t> tail) {
  Attrs attrs;
  attrs.set("tail", std::move(tail));
  return ops::reshape.infer({{&x, 1}, attrs, DType::kFloat32}).front();
}

TEST(Reshape, KeepsTheFirstDimension) {
  const TensorType x{DType::kBFloat16, Shape{Dim(Symbol::kTokens), 12}};
  EXPECT_EQ(to_string(infer(x, {3, 4})), "bfloat16[tokens, 3, 4]");
  EXPECT_EQ(to_string(infer(infer(x, {3, 4}), {12})), "bfloat16[tokens, 12]");
}

TEST(Reshape, AnotherNumberOfElementsIsRefused) {
  const TensorType x{DType::kFloat32, Shape{Dim(Symbol::kTokens), 12}};
  try {
    infer(x, {3, 5});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.message(),
              "[reshape] tail: expected 12 elements a row, found float32[tokens, 3, 5]");
  }
}

TEST(Reshape, IsAnAlias) { EXPECT_EQ(ops::reshape.run, nullptr); }

}  // namespace
}  // namespace lockstep
