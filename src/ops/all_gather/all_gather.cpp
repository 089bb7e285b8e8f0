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
  const AllGatherArgs args = all_gather_args(
      x, call.outputs[0], static_cast<int>(call.attrs.get_int("dim")), call.attrs.get_ints("ranks"),
      call.attrs.get_ints("bounds"), call.context.ranks);
  dispatch<AllGatherArgs>("all_gather", kKernels, args, x.dtype == DType::kFloat32, call.context);
}

}  // namespace

AllGatherArgs all_gather_args(const View& x, const View& out, int dim,
                              std::span<const int64_t> ranks, std::span<const int64_t> bounds,
                              Communicator* others) {
  AllGatherArgs args{
      .x = x.data,
      .out = out.data,
      .ranks = ranks,
      .bounds = bounds,
      .outer = 1,
      .size = out.dim(dim),
      .inner_bytes = dtype_size(x.dtype),
      .others = others,
  };
  for (int d = 0; d < dim; ++d) args.outer *= x.dim(d);
  for (int d = dim + 1; d < x.rank; ++d) args.inner_bytes *= static_cast<size_t>(x.dim(d));
  return args;
}

const OpDef all_gather{"all_gather", infer, run,
                       [] { return kernel_infos<AllGatherArgs>(kKernels); }};

}  // namespace lockstep::ops
