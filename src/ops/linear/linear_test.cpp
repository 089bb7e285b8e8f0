#include "ops/linear/linear.h"

#include <gtest/gtest.h>

#include "ops/op_test_util.h"

namespace lockstep {
namespace {

TEST(Linear, RefIsTheSumOfProductsPlusBias) {
  for (const char* line : {"a float32[3,7]~normal float32[5,7]~normal float32[5]~normal",
                           "a float32[3,7]~normal bfloat16[5,7]~normal",
                           "a float32[3,7]~normal float16[5,7]~normal"}) {
    OpRun r("linear", line);
    r.run();
    for (int64_t t = 0; t < 3; ++t) {
      for (int64_t n = 0; n < 5; ++n) {
        double expected = r.inputs.size() == 3 ? r.in(2, n) : 0;
        for (int64_t k = 0; k < 7; ++k) expected += r.in(0, t * 7 + k) * r.in(1, n * 7 + k);
        EXPECT_NEAR(r.out(t * 5 + n), expected, 2e-7 * (1 + std::abs(expected)));
      }
    }
  }
}

TEST(Linear, ReadsWeightsAtOddAddresses) {
  OpRun r("linear", "a float32[3,33]~normal bfloat16[7,33]~normal", "cpu.dot");
  r.run();
  std::vector<char> bytes(1 + r.inputs[1].view().bytes());
  std::copy_n(r.inputs[1].data<char>(), r.inputs[1].view().bytes(), bytes.data() + 1);
  std::vector<View> views{r.inputs[0].view(), r.inputs[1].view()};
  views[1].data = bytes.data() + 1;
  for (const char* kernel : {"ref", "cpu.dot"}) {
    ThreadPool pool(2);
    RunContext context(pool, KernelPolicy::parse("linear=" + std::string(kernel), false));
    const std::vector<Tensor> found = run_case(r.op_case, views, context);
    for (int64_t i = 0; i < 21; ++i) {
      EXPECT_NEAR(load_element(found[0].view().data, DType::kFloat32, i), r.out(i), 1e-5);
    }
  }
}

TEST(Linear, ShapesThatDoNotFitAreRefused) {
  EXPECT_EQ(OpRun("linear", "a float32[3,7]~normal float32[5,8]~normal").error(),
            "[linear] weight: expected [5, 7], found float32[5, 8]");
  EXPECT_EQ(OpRun("linear", "a float32[3,7]~normal float32[5,7]~normal float32[4]~normal").error(),
            "[linear] bias: expected [5], found float32[4]");
}

TEST(Linear, Float32RefusesWhatIsNotRowInvariant) {
  const std::string error =
      OpRun("linear", "a float32[64,64]~normal float32[64,64]~normal", "onednn").error();
  EXPECT_EQ(error,
            "[linear] forced kernel onednn refuses: float32 runs only row-invariant kernels");
}

TEST(Linear, OnednnSaysWhyItRefuses) {
  ops::LinearArgs args{};
  args.dtype = DType::kFloat32;
  EXPECT_STREQ(ops::linear_onednn_refuse(args), "x is not bfloat16");
  args.dtype = args.weight_dtype = DType::kBFloat16;
  EXPECT_STREQ(ops::linear_onednn_refuse(args), "fewer than 17 rows");
}

}  // namespace
}  // namespace lockstep
