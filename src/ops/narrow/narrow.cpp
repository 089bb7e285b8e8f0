#include "ops/narrow/narrow.h"

#include <fmt/format.h>

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<NarrowArgs> kKernels[] = {
    {"cpu", RowInvariant::kYes, never_refuse<NarrowArgs>, narrow_cpu},
    {"ref", RowInvariant::kYes, never_refuse<NarrowArgs>, narrow_ref},
};

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "narrow";
  expect_inputs(op, call, 1, 1);
  TensorType out = call.inputs[0];
  const int64_t dim = call.attrs.get_int("dim");
  if (dim < 1 || dim >= out.shape.rank()) {
    fail(op, "dim", fmt::format("1 to {}", out.shape.rank() - 1), fmt::format("{}", dim));
  }
  const int64_t size = expect_static(op, "x", out, static_cast<int>(dim));
  const std::span<const int64_t> bounds = call.attrs.get_ints("bounds");
  int64_t n = 0;
  for (size_t i = 0; i + 1 < bounds.size(); i += 2) {
    if (bounds[i] < 0 || bounds[i] >= bounds[i + 1] || bounds[i + 1] > size) {
      fail(op, "bounds", fmt::format("ranges within [0, {})", size),
           fmt::format("[{}, {})", bounds[i], bounds[i + 1]));
    }
    n += bounds[i + 1] - bounds[i];
  }
  if (n == 0 || bounds.size() % 2 != 0) fail(op, "bounds", "pairs", "none, or an odd number");
  out.shape[static_cast<int>(dim)] = n;
  return {out};
}

void run(const OpCall& call) {
  check_call(narrow, call);
  const View& x = call.inputs[0];
  const auto dim = static_cast<int>(call.attrs.get_int("dim"));
  NarrowArgs args{
      .x = x.data,
      .out = call.outputs[0].data,
      .bounds = call.attrs.get_ints("bounds"),
      .outer = 1,
      .size = x.dim(dim),
      .inner_bytes = dtype_size(x.dtype),
  };
  for (int d = 0; d < dim; ++d) args.outer *= x.dim(d);
  for (int d = dim + 1; d < x.rank; ++d) args.inner_bytes *= static_cast<size_t>(x.dim(d));
  dispatch<NarrowArgs>("narrow", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

}  // namespace

const OpDef narrow{"narrow", infer, run, [] { return kernel_infos<NarrowArgs>(kKernels); }};

}  // namespace lockstep::ops
