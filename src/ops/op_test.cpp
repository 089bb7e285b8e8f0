#include "ops/op.h"

#include <gtest/gtest.h>

#include <set>

namespace lockstep {
namespace {

using internal::Candidate;
using internal::choose_kernel;

constexpr Candidate kList[] = {{{"fast", RowInvariant::kNo}, nullptr},
                               {{"cpu.simd", RowInvariant::kYes}, nullptr},
                               {{"ref", RowInvariant::kYes}, nullptr}};

TEST(ChooseKernel, TakesTheFirstThatDoesNotRefuse) {
  ThreadPool pool(1);
  RunContext context(pool);
  EXPECT_EQ(choose_kernel("rope", kList, false, context), 0u);
  EXPECT_EQ(choose_kernel("rope", kList, true, context), 1u) << "float32 needs row invariance";
  const Candidate refusing[] = {{{"cpu.simd", RowInvariant::kYes}, "too odd"}, kList[2]};
  EXPECT_EQ(choose_kernel("rope", refusing, false, context), 1u);
  EXPECT_EQ(context.calls["rope/fast"], 1);
  EXPECT_EQ(context.calls["rope/cpu.simd"], 1);
  EXPECT_EQ(context.calls["rope/ref"], 1);
}

TEST(ChooseKernel, ForcedKernelRunsOrTheCallFailsWithItsReason) {
  ThreadPool pool(1);
  RunContext all(pool, KernelPolicy::parse("ref", false));
  EXPECT_EQ(choose_kernel("rope", kList, false, all), 2u);
  RunContext one(pool, KernelPolicy::parse("rope=cpu.simd", false));
  const Candidate refusing[] = {{{"cpu.simd", RowInvariant::kYes}, "too odd"}, kList[2]};
  try {
    choose_kernel("rope", refusing, false, one);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "[rope] forced kernel cpu.simd refuses: too odd");
  }
  EXPECT_EQ(choose_kernel("linear", kList, false, one), 0u) << "the rule is for rope alone";
}

TEST(ChooseKernel, AKernelForcedForAllOpsNeedNotExistInEach) {
  ThreadPool pool(1);
  RunContext context(pool, KernelPolicy::parse("onednn", false));
  EXPECT_EQ(choose_kernel("rope", kList, true, context), 1u);
}

TEST(ChooseKernel, NoneLeftIsAnInternalError) {
  ThreadPool pool(1);
  RunContext context(pool);
  const Candidate list[] = {{{"ref", RowInvariant::kYes}, "no"}};
  EXPECT_THROW(choose_kernel("rope", list, false, context), Error);
}

TEST(ChooseKernel, ExplainsEachDistinctChoiceOnce) {
  ThreadPool pool(1);
  RunContext context(pool, KernelPolicy::parse("", true));
  testing::internal::CaptureStderr();
  choose_kernel("rope", kList, true, context);
  choose_kernel("rope", kList, true, context);
  const std::string text = testing::internal::GetCapturedStderr();
  const std::string line = "rope: cpu.simd; fast refused: float32 runs only row-invariant kernels";
  const size_t at = text.find(line);
  EXPECT_NE(at, std::string::npos) << text;
  EXPECT_EQ(text.find(line, at + 1), std::string::npos);
}

TEST(KernelPolicy, ParsesRulesAndRefusesUnknownNames) {
  const KernelPolicy policy = KernelPolicy::parse("ref,linear=cpu.dot", true);
  EXPECT_EQ(policy.forced("rope"), "ref");
  EXPECT_EQ(policy.forced("linear"), "cpu.dot");
  EXPECT_TRUE(policy.explain());
  EXPECT_EQ(KernelPolicy::parse("", false).forced("rope"), "");
  for (const char* bad : {"nothing", "nothing=ref", "rope=nothing", "reshape=ref"}) {
    EXPECT_THROW(KernelPolicy::parse(bad, false), Error) << bad;
  }
}

TEST(Ops, HaveUniqueNamesAndListsThatEndInRef) {
  std::set<std::string_view> names;
  for (const OpDef* op : all_ops()) {
    EXPECT_TRUE(names.insert(op->name).second) << op->name;
    EXPECT_EQ(find_op(op->name), op);
    if (op->run == nullptr) continue;
    const std::vector<KernelInfo> kernels = op->kernels();
    ASSERT_FALSE(kernels.empty());
    EXPECT_EQ(kernels.back().name, "ref");
    EXPECT_LE(kernels.size(), 8u);
  }
  EXPECT_EQ(find_op("nothing"), nullptr);
}

TEST(Attrs, GettersNameTheAttributeAndTheTypes) {
  Attrs attrs;
  attrs.set("eps", 1e-6);
  attrs.set("n", int64_t{3});
  attrs.set("style", std::string("half"));
  attrs.set("tail", std::vector<int64_t>{2, 3});
  EXPECT_EQ(attrs.get_float("n"), 3.0);
  EXPECT_EQ(attrs.get_int("absent", 5), 5);
  EXPECT_EQ(attrs.get_string("absent", "x"), "x");
  EXPECT_EQ(to_string(attrs), "eps=1e-06 n=3 style=half tail=[2,3]");
  try {
    attrs.get_int("style");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.message(), "attribute style: expected a int, found a string");
  }
  EXPECT_THROW(attrs.get_ints("absent"), Error);
  EXPECT_THROW(attrs.get_float("style", 1), Error);
}

}  // namespace
}  // namespace lockstep
