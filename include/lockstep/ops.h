// Functions of the graph. Shapes are per step: T is the number of tokens of all sequences.
// What each computes, and where it rounds, stands in src/ops/<name>/<name>.h.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "lockstep/builder.h"

namespace lockstep {

inline Value operator+(const Value& a, const Value& b) {
  return a.builder().op("elementwise", {a, b}, {{"fn", "add"}});
}
inline Value operator-(const Value& a, const Value& b) {
  return a.builder().op("elementwise", {a, b}, {{"fn", "sub"}});
}
inline Value operator*(const Value& a, const Value& b) {
  return a.builder().op("elementwise", {a, b}, {{"fn", "mul"}});
}
/// x times a constant, as a float32 product.
inline Value scale(const Value& x, double factor) {
  return x.builder().op("elementwise", {x}, {{"fn", "scale"}, {"factor", factor}});
}
/// x times a tensor of one element in the reference: `factor` is rounded to x's type first.
inline Value scale_in_type(const Value& x, double factor) {
  return x.builder().op("elementwise", {x}, {{"fn", "scale_in_type"}, {"factor", factor}});
}
/// x W^T: weight [out, in], x [..., in] -> [..., out]
inline Value linear(const Value& x, const Value& weight) {
  return x.builder().op("linear", {x, weight});
}
/// `fn` is a name of transformers' ACT2FN: "silu", "gelu", "gelu_pytorch_tanh", ...
inline Value activation(const Value& x, const std::string& fn) {
  return x.builder().op("activation", {x}, {{"fn", fn}});
}
/// [T, heads * head_dim] -> [T, heads, head_dim]
inline Value split_heads(const Value& x, int64_t head_dim) {
  const int64_t width = x.size(-1);
  if (head_dim < 1 || width % head_dim != 0) {
    throw Error(ErrorCode::kInvalidArgument, "split_heads: width " + std::to_string(width) +
                                                 " is no multiple of head_dim " +
                                                 std::to_string(head_dim));
  }
  return x.builder().op("reshape", {x},
                        {{"tail", std::vector<int64_t>{width / head_dim, head_dim}}});
}
/// [T, heads, head_dim] -> [T, heads * head_dim]
inline Value merge_heads(const Value& x) {
  return x.builder().op("reshape", {x}, {{"tail", std::vector<int64_t>{x.size(-2) * x.size(-1)}}});
}
/// x [..., W] -> [..., end - begin], a range of the last dimension
inline Value slice(const Value& x, int64_t begin, int64_t end) {
  return x.builder().op("slice", {x}, {{"bounds", std::vector<int64_t>{begin, end}}});
}
/// [T, heads, A] and [T, heads, B] -> [T, heads, A + B]; one head serves all of the other's.
inline Value concat(const Value& a, const Value& b) { return a.builder().op("concat", {a, b}); }
/// x in float32, whatever the type between modules.
inline Value to_float32(const Value& x) { return x.builder().op("cast", {x}, {{"to", "float32"}}); }
/// x in the type between modules: the reference's `.to(weight.dtype)`.
inline Value to_activation(const Value& x) {
  return x.builder().op("cast", {x}, {{"to", "activation"}});
}
/// x [T, ...], rows [R] -> [R, ...]
inline Value gather_rows(const Value& x, const Value& rows) {
  return x.builder().op("gather_rows", {x, rows});
}

}  // namespace lockstep
