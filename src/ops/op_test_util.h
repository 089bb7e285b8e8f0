// What the ops' tests share: a call on vectors of numbers, and the error of a call that must fail.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "ops/op_case.h"

namespace lockstep {

/// Runs `line` (see op_case.h) on `kernel` and gives access to numbers as float64.
class OpRun {
 public:
  OpRun(std::string_view op, std::string_view line, std::string_view kernel = "ref")
      : op_case(parse_case(op, line)), inputs(make_inputs(op_case, 7)), kernel_(kernel) {}

  void run() {
    ThreadPool pool(2);
    const std::string rule = op_case.op + "=" + kernel_;
    RunContext context(pool, KernelPolicy::parse(rule, false));
    std::vector<View> views;
    for (const Tensor& tensor : inputs) views.push_back(tensor.view());
    outputs = run_case(op_case, views, context);
    EXPECT_EQ(context.calls[op_case.op + "/" + kernel_], 1);
  }
  double in(size_t input, int64_t i) const {
    return load_element(inputs[input].view().data, inputs[input].view().dtype, i);
  }
  double out(int64_t i, size_t output = 0) const {
    return load_element(outputs[output].view().data, outputs[output].view().dtype, i);
  }
  /// The message of the Error that run() throws.
  std::string error() {
    try {
      run();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      return error.message();
    }
    return "no error";
  }

  OpCase op_case;
  std::vector<Tensor> inputs, outputs;

 private:
  std::string kernel_;
};

/// Half a unit in the last place of bfloat16, relative.
inline constexpr double kBf16Half = 0x1p-8;

}  // namespace lockstep
