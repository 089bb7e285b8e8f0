#include "ops/check.h"

#include <fmt/format.h>

#include <algorithm>

namespace lockstep::ops {
namespace {

template <class Range, class Name>
std::string join(const Range& range, Name name) {
  std::string text;
  for (const auto& item : range) {
    if (!text.empty()) text += " or ";
    text += name(item);
  }
  return text;
}

TensorType type_of(std::string_view op, std::string_view what, const View& view) {
  if (view.device != DeviceKind::kCpu) fail(op, what, "host memory", "device memory");
  if (!view.is_contiguous()) fail(op, what, "contiguous memory", to_string(view) + " with strides");
  const std::span<const int64_t> dims(view.shape.data(), static_cast<size_t>(view.rank));
  return {view.dtype, Shape(dims)};
}

}  // namespace

void fail(std::string_view op, std::string_view what, std::string_view expected,
          std::string_view found) {
  throw Error(ErrorCode::kInvalidArgument,
              fmt::format("[{}] {}: expected {}, found {}", op, what, expected, found));
}

void expect_inputs(std::string_view op, const InferCall& call, size_t at_least, size_t at_most) {
  if (call.inputs.size() >= at_least && call.inputs.size() <= at_most) return;
  fail(op, "number of inputs",
       at_least == at_most ? fmt::format("{}", at_least)
                           : fmt::format("{} to {}", at_least, at_most),
       fmt::format("{}", call.inputs.size()));
}

void expect_rank(std::string_view op, std::string_view what, const TensorType& type, int at_least,
                 int at_most) {
  if (type.shape.rank() >= at_least && type.shape.rank() <= at_most) return;
  fail(op, what,
       at_least == at_most ? fmt::format("rank {}", at_least)
                           : fmt::format("rank {} to {}", at_least, at_most),
       to_string(type));
}

void expect_shape(std::string_view op, std::string_view what, const TensorType& type,
                  const Shape& expected) {
  if (!(type.shape == expected)) fail(op, what, to_string(expected), to_string(type));
}

void expect_dtype(std::string_view op, std::string_view what, const TensorType& type,
                  std::initializer_list<DType> expected) {
  if (std::find(expected.begin(), expected.end(), type.dtype) != expected.end()) return;
  fail(op, what, join(expected, [](DType dtype) { return dtype_name(dtype); }), to_string(type));
}

void expect_activation(std::string_view op, std::string_view what, const TensorType& type) {
  expect_dtype(op, what, type, {DType::kFloat32, DType::kBFloat16});
}

void expect_weight(std::string_view op, std::string_view what, const TensorType& type) {
  expect_dtype(op, what, type, {DType::kFloat32, DType::kBFloat16, DType::kFloat16});
}

int64_t expect_static(std::string_view op, std::string_view what, const TensorType& type, int dim) {
  if (!type.shape[dim].is_static()) {
    fail(op, what, fmt::format("a fixed size of dimension {}", dim), to_string(type));
  }
  return type.shape[dim].count;
}

size_t expect_choice(std::string_view op, std::string_view attr, std::string_view value,
                     std::initializer_list<std::string_view> choices) {
  const auto it = std::find(choices.begin(), choices.end(), value);
  if (it == choices.end()) {
    fail(op, attr, join(choices, [](std::string_view choice) { return choice; }), value);
  }
  return static_cast<size_t>(it - choices.begin());
}

void expect_state_inputs(std::string_view op, const TensorType& row_offsets,
                         const TensorType& state_slots, const TensorType& state) {
  expect_dtype(op, "row_offsets", row_offsets, {DType::kInt32});
  expect_rank(op, "row_offsets", row_offsets, 1, 1);
  expect_dtype(op, "state_slots", state_slots, {DType::kInt32});
  expect_rank(op, "state_slots", state_slots, 1, 1);
  expect_rank(op, "state", state, 2);
}

void check_sequences(std::string_view op, const View& row_offsets, const View& state_slots,
                     int64_t n_tokens, int64_t n_slots) {
  const auto expect = [&](std::string_view what, int64_t i, bool ok, std::string_view expected,
                          int64_t found) {
    if (!ok) fail(op, fmt::format("{}[{}]", what, i), expected, fmt::format("{}", found));
  };
  const int64_t n = state_slots.dim(0);
  if (row_offsets.dim(0) != n + 1) {
    fail(op, "row_offsets", fmt::format("{} entries", n + 1), to_string(row_offsets));
  }
  const auto* rows = row_offsets.as<int32_t>();
  const auto* slots = state_slots.as<int32_t>();
  expect("row_offsets", 0, rows[0] == 0, "0", rows[0]);
  expect("row_offsets", n, rows[n] == n_tokens, "the number of tokens", rows[n]);
  for (int64_t s = 0; s < n; ++s) {
    expect("row_offsets", s + 1, rows[s + 1] >= rows[s], "no less than before", rows[s + 1]);
    if (slots[s] < 0 || slots[s] >= n_slots) {
      expect("state_slots", s, false, fmt::format("a slot in [0, {})", n_slots), slots[s]);
    }
    const bool own = std::find(slots, slots + s, slots[s]) == slots + s;
    expect("state_slots", s, own, "a slot of its own", slots[s]);
  }
}

void check_call(const OpDef& op, const OpCall& call) {
  std::vector<TensorType> inputs;
  inputs.reserve(call.inputs.size());
  for (const View& view : call.inputs) {
    inputs.push_back(type_of(op.name, fmt::format("input {}", inputs.size()), view));
  }
  if (call.outputs.empty()) fail(op.name, "number of outputs", "at least 1", "0");
  const std::vector<TensorType> outputs =
      op.infer({inputs, call.attrs, call.outputs.front().dtype});
  if (outputs.size() != call.outputs.size()) {
    fail(op.name, "number of outputs", fmt::format("{}", outputs.size()),
         fmt::format("{}", call.outputs.size()));
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const TensorType found = type_of(op.name, "output", call.outputs[i]);
    if (!(found == outputs[i])) {
      fail(op.name, fmt::format("output {}", i), to_string(outputs[i]), to_string(found));
    }
  }
}

}  // namespace lockstep::ops
