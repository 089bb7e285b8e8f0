#include "ops/rotary_embedding/rotary_embedding.h"

#include <fmt/format.h>

#include <cmath>

#include "ops/check.h"
#include "ops/torch_powers.h"

namespace lockstep::ops {
namespace {

constexpr Kernel<RotaryEmbeddingArgs> kKernels[] = {
    {"cpu", RowInvariant::kYes, never_refuse<RotaryEmbeddingArgs>, rotary_embedding_cpu},
    {"ref", RowInvariant::kYes, never_refuse<RotaryEmbeddingArgs>, rotary_embedding_ref},
};

RotaryLayout layout_of(const Attrs& attrs) {
  return expect_choice("rotary_embedding", "layout", attrs.get_string("layout"),
                       {"half", "interleaved"}) == 0
             ? RotaryLayout::kHalf
             : RotaryLayout::kInterleaved;
}

std::span<const double> long_inv_freq_of(const Attrs& attrs) {
  return attrs.has("long_inv_freq") ? attrs.get_floats("long_inv_freq") : std::span<const double>();
}

void check_switch(const Attrs& attrs, size_t n_freq) {
  constexpr std::string_view op = "rotary_embedding";
  const int64_t length = attrs.get_int("switch_length", 0);
  if (length < 0) fail(op, "switch_length", "0 or more", fmt::format("{}", length));
  if (length == 0) return;
  const size_t n_long = long_inv_freq_of(attrs).size();
  if (n_long != 0) {
    if (n_long != n_freq) {
      fail(op, "long_inv_freq", fmt::format("{} of them", n_freq), fmt::format("{}", n_long));
    }
    return;
  }
  if (n_freq < 2) fail(op, "inv_freq", "2 or more with dynamic_theta", fmt::format("{}", n_freq));
  for (const char* name : {"dynamic_theta", "dynamic_factor"}) {
    const double value = attrs.get_float(name);
    if (!(value > 0)) fail(op, name, "a number above 0", fmt::format("{}", value));
  }
}

std::vector<TensorType> infer(const InferCall& call) {
  constexpr std::string_view op = "rotary_embedding";
  expect_inputs(op, call, 1, 1);
  const TensorType& positions = call.inputs[0];
  expect_dtype(op, "positions", positions, {DType::kInt32});
  expect_rank(op, "positions", positions, 1, 1);
  (void)call.attrs.get_float("attention_scaling", 1);
  layout_of(call.attrs);
  check_switch(call.attrs, call.attrs.get_floats("inv_freq").size());
  const auto n_freq = static_cast<int64_t>(call.attrs.get_floats("inv_freq").size());
  const TensorType out{DType::kFloat32, Shape{positions.shape[0], 2 * n_freq}};
  return {out, out};
}

void run(const OpCall& call) {
  check_call(rotary_embedding, call);
  const std::span<const double> inv_freq = call.attrs.get_floats("inv_freq");
  const std::span<const double> long_inv_freq = long_inv_freq_of(call.attrs);
  const RotaryEmbeddingArgs args{
      .positions = call.inputs[0].as<int32_t>(),
      .inv_freq = inv_freq.data(),
      .long_inv_freq = long_inv_freq.empty() ? nullptr : long_inv_freq.data(),
      .cos = call.outputs[0].as<float>(),
      .sin = call.outputs[1].as<float>(),
      .n_tokens = call.inputs[0].dim(0),
      .n_freq = static_cast<int64_t>(inv_freq.size()),
      .switch_length = call.attrs.get_int("switch_length", 0),
      .dynamic_theta = call.attrs.get_float("dynamic_theta", 0),
      .dynamic_factor = call.attrs.get_float("dynamic_factor", 0),
      .attention_scaling = static_cast<float>(call.attrs.get_float("attention_scaling", 1)),
      .layout = layout_of(call.attrs),
  };
  dispatch<RotaryEmbeddingArgs>("rotary_embedding", kKernels, args, true, call.context);
}

}  // namespace

void frequencies_at(const RotaryEmbeddingArgs& args, int32_t position, float* inv_freq) noexcept {
  const int64_t n = args.n_freq;
  const bool switched = args.switch_length != 0 && position >= args.switch_length;
  if (!switched || args.long_inv_freq != nullptr) {
    const double* from = switched ? args.long_inv_freq : args.inv_freq;
    for (int64_t i = 0; i < n; ++i) inv_freq[i] = static_cast<float>(from[i]);
    return;
  }
  const auto width = static_cast<float>(2 * n);
  const float grown = static_cast<float>(args.dynamic_factor) * static_cast<float>(position + 1) /
                      static_cast<float>(args.switch_length);
  const float stretch = grown - static_cast<float>(args.dynamic_factor - 1);
  const double power = static_cast<double>(2 * n) / static_cast<double>(2 * n - 2);
  // torch takes a number for an exponent in float64.
  const auto raised = static_cast<float>(std::pow(static_cast<double>(stretch), power));
  const float base = static_cast<float>(args.dynamic_theta) * raised;
  for (int64_t i = 0; i < n; ++i) inv_freq[i] = static_cast<float>(2 * i) / width;
  torch_powers(base, {inv_freq, static_cast<size_t>(n)}, inv_freq);
  for (int64_t i = 0; i < n; ++i) inv_freq[i] = 1.0f / inv_freq[i];
}

const OpDef rotary_embedding{"rotary_embedding", infer, run,
                             [] { return kernel_infos<RotaryEmbeddingArgs>(kKernels); }};

}  // namespace lockstep::ops
