// x . W^T as the graph calls it, for one row (a decode step: bound by memory) and 512 rows
// (a prefill: bound by arithmetic). Results are compared with the ref kernel's before timing.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "bench/bench.h"
#include "ops/op.h"
#include "tensor/tensor.h"

namespace lockstep::bench {
namespace {

constexpr int64_t kSize = 4096;                       // in and out features
constexpr int64_t kWeightBytes = int64_t{512} << 20;  // in all: more than any cache holds

Tensor random_tensor(DType dtype, int64_t rows, int64_t cols, float scale) {
  Tensor tensor(dtype, {rows, cols});
  std::minstd_rand random(1);
  std::uniform_real_distribution<float> uniform(-scale, scale);
  for (int64_t i = 0; i < rows * cols; ++i) {
    if (dtype == DType::kFloat32) {
      tensor.data<float>()[i] = uniform(random);
    } else {
      tensor.data<uint16_t>()[i] = float_to_bfloat16(uniform(random));
    }
  }
  return tensor;
}

View row_of(const View& matrix, int64_t row) {
  const std::array<int64_t, 2> shape{1, matrix.dim(-1)};
  const auto* bytes = static_cast<const std::byte*>(matrix.data);
  return make_view(bytes + static_cast<size_t>(row * matrix.dim(-1)) * dtype_size(matrix.dtype),
                   matrix.dtype, shape);
}

void run_linear(const View& x, const View& w, const View& out, RunContext& context) {
  static const OpDef* const linear = find_op("linear");
  const std::array<View, 2> inputs{x, w};
  const std::array<View, 1> outputs{out};
  linear->run({inputs, outputs, Attrs{}, context});
}

/// Largest difference of the first and last row of `out` from the ref kernel's, relative to the
/// largest value.
double difference_from_ref(const View& x, const View& w, const View& out) {
  RunContext context(pool(), KernelPolicy::parse("linear=ref", /*explain=*/false));
  double difference = 0.0, largest = 1e-30;
  for (const int64_t row : {int64_t{0}, x.dim(0) - 1}) {
    const Tensor expected(out.dtype, {1, out.dim(-1)});
    run_linear(row_of(x, row), w, expected.view(), context);
    const View found = row_of(out, row);
    for (int64_t i = 0; i < out.dim(-1); ++i) {
      const double y = load_element(expected.view().data, out.dtype, i);
      difference = std::max(difference, std::abs(load_element(found.data, out.dtype, i) - y));
      largest = std::max(largest, std::abs(y));
    }
  }
  return difference / largest;
}

void linear(benchmark::State& state, DType activations, DType weights) {
  const int64_t rows = state.range(0);
  const float scale = 1.0f / std::sqrt(static_cast<float>(kSize));
  const Tensor x = random_tensor(activations, rows, kSize, 1.0f);
  const Tensor out(activations, {rows, kSize});
  std::vector<Tensor> w;
  w.push_back(random_tensor(weights, kSize, kSize, scale));
  const auto weight_bytes = static_cast<int64_t>(w[0].view().bytes());
  while (static_cast<int64_t>(w.size()) * weight_bytes < kWeightBytes) {
    w.push_back(Tensor::copy_of(w[0].view()));
  }

  RunContext context(pool());
  run_linear(x.view(), w[0].view(), out.view(), context);
  const double difference = difference_from_ref(x.view(), w[0].view(), out.view());
  // One rounding of the result in bfloat16; in float32 only the order of summation.
  if (!(difference <= (activations == DType::kBFloat16 ? 0x1p-8 : 1e-5))) {
    state.SkipWithError(("differs from ref by " + std::to_string(difference)).c_str());
    return;
  }
  state.SetLabel(context.calls.begin()->first);

  const auto activation_bytes = static_cast<double>(x.view().bytes() + out.view().bytes());
  size_t next = 0;
  const RateReport rates(state, static_cast<double>(weight_bytes) + activation_bytes,
                         2.0 * static_cast<double>(rows * kSize * kSize));
  for (auto _ : state) {
    run_linear(x.view(), w[next].view(), out.view(), context);
    next = (next + 1) % w.size();
  }
}

void rows(benchmark::internal::Benchmark* registered) {
  registered->ArgName("rows")->Arg(1)->Arg(512)->Unit(benchmark::kMillisecond)->Apply(spread);
}
BENCHMARK_CAPTURE(linear, bf16, DType::kBFloat16, DType::kBFloat16)->Apply(rows);
BENCHMARK_CAPTURE(linear, f32, DType::kFloat32, DType::kFloat32)->Apply(rows);
BENCHMARK_CAPTURE(linear, f32_on_bf16_weights, DType::kFloat32, DType::kBFloat16)->Apply(rows);

}  // namespace
}  // namespace lockstep::bench
