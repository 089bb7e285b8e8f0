// Checks that the ops share, and the words of their errors:
//   "[rms_norm] weight: expected [192], found bfloat16[191]"
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "ops/op.h"

namespace lockstep::ops {

[[noreturn]] void fail(std::string_view op, std::string_view what, std::string_view expected,
                       std::string_view found);

void expect_inputs(std::string_view op, const InferCall& call, size_t at_least, size_t at_most);
void expect_rank(std::string_view op, std::string_view what, const TensorType& type, int at_least,
                 int at_most = kMaxRank);
void expect_shape(std::string_view op, std::string_view what, const TensorType& type,
                  const Shape& expected);
void expect_dtype(std::string_view op, std::string_view what, const TensorType& type,
                  std::initializer_list<DType> expected);
/// float32 or bfloat16: what activations are.
void expect_activation(std::string_view op, std::string_view what, const TensorType& type);
/// float32, bfloat16 or float16: what weights are stored as.
void expect_weight(std::string_view op, std::string_view what, const TensorType& type);
/// A dimension whose size is known when tracing. Returns it.
int64_t expect_static(std::string_view op, std::string_view what, const TensorType& type, int dim);
/// One of `choices`, as its index.
size_t expect_choice(std::string_view op, std::string_view attr, std::string_view value,
                     std::initializer_list<std::string_view> choices);

/// The inputs of an op with a state of one entry a sequence: row_offsets int32[S + 1], state_slots
/// int32[S], state [slots, ...].
void expect_state_inputs(std::string_view op, const TensorType& row_offsets,
                         const TensorType& state_slots, const TensorType& state);
/// What only data can tell of them: offsets in order that end at `n_tokens`, a slot of its own for
/// each sequence, below `n_slots`.
void check_sequences(std::string_view op, const View& row_offsets, const View& state_slots,
                     int64_t n_tokens, int64_t n_slots);

/// What run() checks before it binds: host memory, contiguous, and types that infer() accepts and
/// from which it derives the types of `call.outputs`. Throws as infer() does.
void check_call(const OpDef& op, const OpCall& call);

}  // namespace lockstep::ops
