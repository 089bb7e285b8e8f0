// The cases on which an op is tested and measured: the lines of its cases.txt, which are part of
// the binary. A line is a name and then, separated by spaces:
//
//   bfloat16[T,192]~normal:0:0.5     an input, in order: type, dimensions, ~ generator
//   .eps=1e-5 .fn=silu .tail=[4,16]  attributes; a number with a point or exponent is a float;
//                                    .inv_freq=rope:THETA:DIM are the usual frequencies
//   rows:7                           the value of T
//   ragged:0+5,17+1                  sequences, each cached+new tokens: sets T (tokens), N
//                                    (sequences), S (N + 1) and L (slots of states)
//   page:16                          beside it, pages of 16: sets P (pages of the step), C (pages
//                                    of the cache) and B (page size)
//   dtype:bfloat16                   activation type (float32 unless said)
//   tol:1e-5                         |found - expected| <= tol * (|expected| + rms(expected))
//   ulp:2                            units in the last place of the output's type
//   state_tol:1e-5                   as tol, for what the op writes into its inputs; without it
//                                    their bits must be equal
//   tier:bench                       measured, too large to test; otherwise tested and measured
//
// Generators: normal[:mean[:deviation]], uniform:low:high, sweep:low:high (evenly spaced), ids:N
// (integers in [0, N)), and for ragged cases positions, row_offsets, slots, page_offsets, pages.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ops/op.h"
#include "tensor/tensor.h"

namespace lockstep {

struct CaseInput {
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;
  bool has_rows = false;  // the first dimension is T
  std::vector<std::string> generator;
};

struct CaseSequence {
  int64_t n_cached = 0, n_new = 0;
};

struct OpCase {
  std::string op, name, tier = "test";
  std::vector<CaseInput> inputs;
  Attrs attrs;
  DType activation_dtype = DType::kFloat32;
  std::vector<CaseSequence> sequences;
  int64_t page_size = 0;
  double tolerance = 0, ulps = 0;  // both 0: equal bits
  double state_tolerance = 0;      // 0: equal bits
};

/// The cases of `op`, in order; none for an op without. Throws kInvalidArgument naming op and line.
std::vector<OpCase> load_cases(std::string_view op);

/// As load_cases, for one line.
OpCase parse_case(std::string_view op, std::string_view line);

/// Inputs from a seed: the same on every machine.
std::vector<Tensor> make_inputs(const OpCase& op_case, uint64_t seed);

/// Infers the output types from `inputs` and runs the op. An alias gives no outputs.
std::vector<Tensor> run_case(const OpCase& op_case, std::span<const View> inputs,
                             RunContext& context);

/// Where and how `found` differs from `expected` by more than the case allows; nullopt if nowhere.
std::optional<std::string> compare_outputs(const OpCase& op_case, const View& expected,
                                           const View& found);

}  // namespace lockstep
