#include "ops/reshape/reshape.h"

#include <fmt/format.h>

#include "ops/check.h"

namespace lockstep::ops {
namespace {

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "reshape";
  expect_inputs(op, call, 1, 1);
  const TensorType& x = call.inputs[0];
  expect_rank(op, "x", x, 1);
  std::vector<int64_t> row;
  for (int i = 1; i < x.shape.rank(); ++i) row.push_back(expect_static(op, "x", x, i));
  const std::span<const int64_t> tail = call.attrs.get_ints("tail");
  TensorType out{x.dtype, Shape{x.shape[0]}};
  for (const int64_t dim : tail) out.shape.push_back(dim);
  if (checked_product(tail) < 0 || checked_product(tail) != checked_product(row)) {
    fail(op, "tail", fmt::format("{} elements a row", checked_product(row)), to_string(out));
  }
  return {out};
}

}  // namespace

const OpDef reshape{"reshape", infer, nullptr, [] { return std::vector<KernelInfo>{}; }};

}  // namespace lockstep::ops
