// Shapes, views and tensors.
#include "tensor/tensor.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "base/testing/temp_folder.h"

// An allocation that cannot be had must return null under the sanitizer, as it does without.
extern "C" const char* __asan_default_options();  // NOLINT(bugprone-reserved-identifier)
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() {
  return "allocator_may_return_null=1";
}

namespace lockstep {
namespace {

using test::error_of;

constexpr int64_t kBig = int64_t{1} << 62;

SymbolValues values(int64_t tokens) {
  SymbolValues symbols;
  symbols.fill(1);
  symbols[static_cast<size_t>(Symbol::kTokens)] = tokens;
  return symbols;
}

TEST(Shape, CountsElementsUnderSymbols) {
  const Shape shape = {{Symbol::kTokens}, 6, {Symbol::kTokens, 2}};
  EXPECT_FALSE(shape.is_static());
  EXPECT_EQ(shape.elements(values(5)), 5 * 6 * 10);
  EXPECT_EQ(shape.elements(values(0)), 0);
  EXPECT_EQ(Shape().elements(values(5)), 1);
  EXPECT_TRUE((Shape{3, 4}).is_static());
  EXPECT_EQ((Shape{3, 4})[-1], Dim(4));
}

TEST(Shape, RefusesTooManyDimensionsAndOverflow) {
  Shape shape = {1, 2, 3, 4, 5, 6};
  EXPECT_EQ(error_of([&] { shape.push_back(7); })->code(), ErrorCode::kOutOfRange);
  const std::vector<int64_t> seven(7, 1);
  EXPECT_EQ(error_of([&] { Shape{std::span<const int64_t>(seven)}; })->code(),
            ErrorCode::kOutOfRange);
  const Shape wide = {{Symbol::kTokens, kBig}};
  const auto error = error_of([&] { wide.elements(values(4)); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::kOutOfRange);
  EXPECT_NE(error->message().find("tokens"), std::string::npos) << error->message();
}

TEST(Shape, ComparesAndPrints) {
  EXPECT_EQ((Shape{{Symbol::kTokens}, 6}), (Shape{{Symbol::kTokens}, 6}));
  EXPECT_NE((Shape{{Symbol::kTokens}, 6}), (Shape{{Symbol::kSequences}, 6}));
  EXPECT_NE((Shape{6}), (Shape{6, 1}));
  EXPECT_EQ(to_string(Shape()), "[]");
  EXPECT_EQ(to_string(Shape{{Symbol::kTokens}, 6, {Symbol::kStepPages, 2}}),
            "[tokens, 6, 2*step_pages]");
  EXPECT_EQ(to_string(TensorType{DType::kBFloat16, {957, 192}}), "bfloat16[957, 192]");
}

TEST(CheckedProduct, FindsOverflowNegativesAndZeros) {
  const struct {
    std::vector<int64_t> dims;
    int64_t product;
  } cases[] = {
      {{}, 1},
      {{7}, 7},
      {{2, 3, 4}, 24},
      {{0}, 0},
      {{5, 0, 7}, 0},
      {{-1}, -1},
      {{0, -1}, -1},
      {{kBig, 2}, -1},
      {{kBig, 1}, kBig},
      {{INT64_MAX}, INT64_MAX},
      {{0, kBig, 4}, -1},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(checked_product(c.dims), c.product) << ::testing::PrintToString(c.dims);
  }
}

TEST(View, IsRowMajor) {
  const std::vector<int64_t> shape = {2, 3, 4};
  std::vector<float> data(24);
  const View view = make_view(data.data(), DType::kFloat32, shape);
  EXPECT_EQ(view.rank, 3);
  EXPECT_EQ(view.stride[0], 12);
  EXPECT_EQ(view.stride[1], 4);
  EXPECT_EQ(view.stride[2], 1);
  EXPECT_EQ(view.elements(), 24);
  EXPECT_EQ(view.rows(), 6);
  EXPECT_EQ(view.bytes(), 96u);
  EXPECT_EQ(view.dim(-1), 4);
  EXPECT_TRUE(view.is_contiguous());
  EXPECT_EQ(to_string(view), "float32[2, 3, 4]");
  EXPECT_EQ(view.as<float>(), data.data());
}

TEST(View, ScalarHasOneElementAndOneRow) {
  float x = 1;
  const View view = make_view(&x, DType::kFloat32, {});
  EXPECT_EQ(view.elements(), 1);
  EXPECT_EQ(view.rows(), 1);
  EXPECT_TRUE(view.is_contiguous());
  EXPECT_EQ(to_string(view), "float32[]");
}

TEST(View, KnowsWhatIsContiguous) {
  const std::vector<int64_t> shape = {4, 1, 3};
  View view = make_view(nullptr, DType::kFloat32, shape);
  view.stride[1] = 99;  // of a single element, never used
  EXPECT_TRUE(view.is_contiguous());
  view.stride[0] = 6;
  EXPECT_FALSE(view.is_contiguous());
  view.shape[2] = 0;
  EXPECT_TRUE(view.is_contiguous());
  view.shape[0] = 0;
  view.shape[2] = 3;
  EXPECT_TRUE(view.is_contiguous());
}

TEST(View, RefusesImpossibleShapes) {
  const std::vector<std::vector<int64_t>> shapes = {
      {-1}, {kBig, 2}, {kBig}, {0, kBig, 4}, {1, 1, 1, 1, 1, 1, 1}};
  for (const auto& shape : shapes) {
    const auto error = error_of([&] { make_view(nullptr, DType::kFloat32, shape); });
    ASSERT_TRUE(error.has_value()) << ::testing::PrintToString(shape);
    EXPECT_EQ(error->code(), ErrorCode::kOutOfRange);
  }
}

TEST(Tensor, IsAlignedAndZeroed) {
  const Tensor tensor(DType::kFloat32, {3, 5});
  EXPECT_EQ(reinterpret_cast<uintptr_t>(tensor.data<float>()) % 64, 0u);
  for (int i = 0; i < 15; ++i) EXPECT_EQ(tensor.data<float>()[i], 0.0f);
  EXPECT_FALSE(tensor.empty());
  EXPECT_TRUE(Tensor().empty());
}

TEST(Tensor, WithoutElementsIsStillATensor) {
  const Tensor tensor(DType::kFloat32, {0, 5});
  EXPECT_FALSE(tensor.empty());
  EXPECT_EQ(tensor.view().elements(), 0);
  EXPECT_FALSE(Tensor::copy_of(tensor.view()).empty());
}

TEST(Tensor, MovesKeepTheAddress) {
  Tensor a(DType::kInt64, {2});
  const void* address = a.view().data;
  const Tensor b = std::move(a);
  EXPECT_EQ(b.view().data, address);
}

TEST(Tensor, SaysWhenThereIsNoMemory) {
  const auto error = error_of([] { Tensor(DType::kUint8, {int64_t{1} << 61}); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::kResourceExhausted);
  EXPECT_NE(error->message().find("uint8[2305843009213693952]"), std::string::npos);
  EXPECT_EQ(error_of([] { Tensor(DType::kUint8, {-1}); })->code(), ErrorCode::kOutOfRange);
}

TEST(Tensor, CopiesResolveStrides) {
  std::vector<int32_t> data(24);
  for (int i = 0; i < 24; ++i) data[static_cast<size_t>(i)] = i;
  const std::vector<int64_t> shape = {4, 3, 2};
  View transposed = make_view(data.data(), DType::kInt32, shape);
  transposed.stride = {1, 8, 4};  // element [i, j, k] is i + 8 j + 4 k
  const Tensor copy = Tensor::copy_of(transposed);
  EXPECT_TRUE(copy.view().is_contiguous());
  const int32_t* at = copy.data<int32_t>();
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 3; ++j) {
      for (int k = 0; k < 2; ++k) EXPECT_EQ(*at++, i + 8 * j + 4 * k);
    }
  }
  View column = make_view(data.data(), DType::kInt32, std::vector<int64_t>{2, 3});
  column.stride[0] = 12;
  const Tensor rows = Tensor::copy_of(column);
  EXPECT_EQ(rows.data<int32_t>()[2], 2);
  EXPECT_EQ(rows.data<int32_t>()[3], 12);
}

TEST(Tensor, CopiesHostMemoryAlone) {
  View view = make_view(nullptr, DType::kFloat32, std::vector<int64_t>{2}, DeviceKind::kCuda);
  const auto error = error_of([&] { Tensor::copy_of(view); });
  ASSERT_TRUE(error.has_value());
  EXPECT_EQ(error->code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace lockstep
