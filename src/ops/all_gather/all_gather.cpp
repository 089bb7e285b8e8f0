#include "ops/all_gather/all_gather.h"

#include <fmt/format.h>

#include "ops/check.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<AllGatherArgs> kKernels[] = {
    {"cpu.shared", RowInvariant::kYes, never_refuse<AllGatherArgs>, all_gather_cpu},
    {"ref", RowInvariant::kYes, never_refuse<AllGatherArgs>, all_gather_ref},
};

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "all_gather";
  expect_inputs(op, call, 1, 1);
  TensorType out = call.inputs[0];
  const int64_t dim = call.attrs.get_int("dim"), size = call.attrs.get_int("size");
  if (dim < 1 || dim >= out.shape.rank()) {
    fail(op, "dim", fmt::format("1 to {}", out.shape.rank() - 1), fmt::format("{}", dim));
  }
  const std::span<const int64_t> bounds = call.attrs.get_ints("bounds");
  if (bounds.size() != 2 * call.attrs.get_ints("ranks").size()) {
    fail(op, "bounds", "a begin and an end for each of ranks", fmt::format("{}", bounds.size()));
  }
  for (size_t i = 0; i < bounds.size(); i += 2) {
    if (bounds[i] < 0 || bounds[i] >= bounds[i + 1] || bounds[i + 1] > size) {
      fail(op, "bounds", fmt::format("ranges within [0, {})", size),
           fmt::format("[{}, {})", bounds[i], bounds[i + 1]));
    }
  }
  out.shape[static_cast<int>(dim)] = size;
  return {out};
}

void run(const OpCall& call) {
  check_call(all_gather, call);
  const View& x = call.inputs[0];
  const auto dim = static_cast<int>(call.attrs.get_int("dim"));
  AllGatherArgs args{
      .x = x.data,
      .out = call.outputs[0].data,
      .ranks = call.attrs.get_ints("ranks"),
      .bounds = call.attrs.get_ints("bounds"),
      .outer = 1,
      .size = call.outputs[0].dim(dim),
      .inner_bytes = dtype_size(x.dtype),
      .others = call.context.ranks,
  };
  for (int d = 0; d < dim; ++d) args.outer *= x.dim(d);
  for (int d = dim + 1; d < x.rank; ++d) args.inner_bytes *= static_cast<size_t>(x.dim(d));
  dispatch<AllGatherArgs>("all_gather", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

}  // namespace

const OpDef all_gather{"all_gather", infer, run,
                       [] { return kernel_infos<AllGatherArgs>(kKernels); }};

}  // namespace lockstep::ops
