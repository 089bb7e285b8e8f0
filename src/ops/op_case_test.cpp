// Every kernel of every op on every case and every instruction set of this CPU, against `ref`; and
// for kernels that claim it, rows alone, in chunks and together, bit for bit.
#include "ops/op_case.h"

#include <gtest/gtest.h>

#include <cstring>

#include "kernels/cpu/targets.h"
#include "kernels/element.h"

namespace lockstep {
namespace {

constexpr uint64_t kSeed = 20240607;

std::vector<View> views_of(const std::vector<Tensor>& tensors) {
  std::vector<View> views;
  for (const Tensor& tensor : tensors) views.push_back(tensor.view());
  return views;
}

std::vector<OpCase> tested_cases(std::string_view op) {
  std::vector<OpCase> cases;
  for (OpCase& op_case : load_cases(op)) {
    if (op_case.tier == "test") cases.push_back(std::move(op_case));
  }
  return cases;
}

RunContext context_for(ThreadPool& pool, std::string_view op, std::string_view kernel) {
  return RunContext(pool, KernelPolicy::parse(std::string(op) + "=" + std::string(kernel), false));
}

/// The bytes of the outputs and of the inputs that the op writes.
struct Results {
  std::vector<Tensor> inputs, outputs;
};

Results run_kernel(const OpCase& op_case, RunContext& context, std::string_view kernel) {
  Results results;
  results.inputs = make_inputs(op_case, kSeed);
  results.outputs = run_case(op_case, views_of(results.inputs), context);
  EXPECT_EQ(context.calls[op_case.op + "/" + std::string(kernel)], 1) << "another kernel ran";
  return results;
}

std::string refusal_of(const Error& error) {
  const size_t at = error.message().find("refuses: ");
  return at == std::string::npos ? std::string() : error.message().substr(at + 9);
}

/// Calls `body(target name)` for each instruction set that this CPU and this build have.
template <class Body>
void for_each_target(Body body) {
  for (const int64_t target : cpu_targets()) {
    set_cpu_target_for_test(target);
    body(cpu_target_name(target));
  }
  set_cpu_target_for_test(0);
}

class EveryOp : public testing::TestWithParam<const OpDef*> {};

TEST_P(EveryOp, EveryKernelAgreesWithRefOnEveryCaseAndTarget) {
  const OpDef& op = *GetParam();
  ThreadPool pool(3);
  for (const OpCase& op_case : tested_cases(op.name)) {
    SCOPED_TRACE(op_case.name);
    if (op.run == nullptr) continue;
    RunContext ref_context = context_for(pool, op.name, "ref");
    const Results expected = run_kernel(op_case, ref_context, "ref");
    for (const KernelInfo& kernel : op.kernels()) {
      for_each_target([&](const char* target) {
        SCOPED_TRACE(std::string(kernel.name) + " on " + target);
        RunContext context = context_for(pool, op.name, kernel.name);
        try {
          const Results found = run_kernel(op_case, context, kernel.name);
          for (size_t i = 0; i < expected.outputs.size(); ++i) {
            const auto difference =
                compare_outputs(op_case, expected.outputs[i].view(), found.outputs[i].view());
            EXPECT_FALSE(difference.has_value()) << *difference;
          }
          for (size_t i = 0; i < expected.inputs.size(); ++i) {
            const View& a = expected.inputs[i].view();
            OpCase rule = op_case;
            rule.tolerance = (op.mutated_inputs >> i & 1) != 0 ? op_case.state_tolerance : 0;
            rule.ulps = 0;
            const auto difference = compare_outputs(rule, a, found.inputs[i].view());
            EXPECT_FALSE(difference.has_value()) << "input " << i << ": " << *difference;
          }
        } catch (const Error& error) {
          EXPECT_FALSE(refusal_of(error).empty()) << error.message();
        }
      });
    }
  }
}

TEST_P(EveryOp, EveryKernelTakesSomeCase) {
  const OpDef& op = *GetParam();
  ThreadPool pool(1);
  for (const KernelInfo& kernel : op.kernels()) {
    bool taken = false;
    std::string refusal;
    for (const OpCase& op_case : tested_cases(op.name)) {
      if (taken) break;
      RunContext context = context_for(pool, op.name, kernel.name);
      try {
        run_kernel(op_case, context, kernel.name);
        taken = true;
      } catch (const Error& error) {
        refusal = refusal_of(error);
      }
    }
    if (!taken && refusal.find("this CPU") != std::string::npos) GTEST_SKIP() << refusal;
    EXPECT_TRUE(taken) << kernel.name << ": " << refusal;
  }
}

View rows_of(const View& view, int64_t begin, int64_t end) {
  View part = view;
  part.shape[0] = end - begin;
  part.data = element(view.data, view.dtype, begin * view.stride[0]);
  return part;
}

bool same_bytes(const View& a, const View& b) {
  return a.bytes() == b.bytes() && (a.bytes() == 0 || std::memcmp(a.data, b.data, a.bytes()) == 0);
}

/// The inputs of a call on rows [begin, end) of the step, all of sequence `s` when ragged. Caches
/// are shared with `inputs`.
struct Part {
  std::vector<View> inputs;
  int32_t row_offsets[2] = {}, page_offsets[2] = {}, slot[1] = {};

  Part(const OpCase& op_case, const std::vector<Tensor>& all, int64_t s, int64_t begin,
       int64_t end) {
    for (size_t i = 0; i < all.size(); ++i) {
      const View& view = all[i].view();
      const std::string& kind = op_case.inputs[i].generator[0];
      if (kind == "row_offsets") {
        row_offsets[1] = static_cast<int32_t>(end - begin);
        inputs.push_back(make_view(row_offsets, DType::kInt32, std::array<int64_t, 1>{2}));
      } else if (kind == "slots") {
        slot[0] = view.as<int32_t>()[s];
        inputs.push_back(make_view(slot, DType::kInt32, std::array<int64_t, 1>{1}));
      } else if (kind == "page_offsets") {
        page_offsets[0] = view.as<int32_t>()[s];
        page_offsets[1] = view.as<int32_t>()[s + 1];
        inputs.push_back(make_view(page_offsets, DType::kInt32, std::array<int64_t, 1>{2}));
      } else {
        inputs.push_back(op_case.inputs[i].has_rows ? rows_of(view, begin, end) : view);
      }
    }
  }
};

/// Ranges of rows that may be a call of their own: the step, or each sequence of it.
std::vector<std::pair<int64_t, int64_t>> independent_rows(const OpCase& op_case) {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  if (op_case.sequences.empty()) {
    for (const CaseInput& input : op_case.inputs) {
      if (input.has_rows) return {{0, input.shape[0]}};
    }
    return {};
  }
  int64_t row = 0;
  for (const CaseSequence& sequence : op_case.sequences) {
    ranges.emplace_back(row, row + sequence.n_new);
    row += sequence.n_new;
  }
  return ranges;
}

TEST_P(EveryOp, RowsHaveTheSameBitsAloneInChunksAndTogether) {
  const OpDef& op = *GetParam();
  if (op.run == nullptr) return;
  ThreadPool pool(3), one(1);
  for (const OpCase& op_case : tested_cases(op.name)) {
    SCOPED_TRACE(op_case.name);
    const auto ranges = independent_rows(op_case);
    for (const KernelInfo& kernel : op.kernels()) {
      if (kernel.row_invariant != RowInvariant::kYes || kernel.name == "ref") continue;
      for_each_target([&](const char* target) {
        SCOPED_TRACE(std::string(kernel.name) + " on " + target);
        RunContext context = context_for(pool, op.name, kernel.name);
        const Results whole = run_kernel(op_case, context, kernel.name);
        for (const int64_t chunk : {1, 2, 3, 7, 16, 33}) {
          const std::vector<Tensor> inputs = make_inputs(op_case, kSeed);
          RunContext part_context = context_for(chunk == 1 ? one : pool, op.name, kernel.name);
          for (size_t s = 0; s < ranges.size(); ++s) {
            for (int64_t begin = ranges[s].first; begin < ranges[s].second; begin += chunk) {
              const int64_t end = std::min(begin + chunk, ranges[s].second);
              const Part part(op_case, inputs, static_cast<int64_t>(s), begin, end);
              const std::vector<Tensor> found = run_case(op_case, part.inputs, part_context);
              for (size_t i = 0; i < found.size(); ++i) {
                EXPECT_TRUE(
                    same_bytes(found[i].view(), rows_of(whole.outputs[i].view(), begin, end)))
                    << "rows " << begin << " to " << end;
              }
            }
          }
          for (size_t i = 0; i < inputs.size(); ++i) {
            EXPECT_TRUE(same_bytes(inputs[i].view(), whole.inputs[i].view()))
                << "input " << i << " after chunks of " << chunk;
          }
        }
      });
    }
  }
}

std::string op_name(const testing::TestParamInfo<const OpDef*>& info) {
  return std::string(info.param->name);
}
INSTANTIATE_TEST_SUITE_P(Ops, EveryOp, testing::ValuesIn(all_ops().begin(), all_ops().end()),
                         op_name);

TEST(OpCase, EveryLineParsesAndHasInputs) {
  for (const OpDef* op : all_ops()) {
    const std::vector<OpCase> cases = load_cases(op->name);
    EXPECT_FALSE(cases.empty()) << op->name;
    for (const OpCase& op_case : cases) EXPECT_FALSE(op_case.inputs.empty()) << op_case.name;
  }
}

TEST(OpCase, BadLinesAreRefused) {
  for (const char* line :
       {"a float32[2]", "a float99[2]~normal", "a float32[Q]~normal", "a rows:x",
        "a ragged:3 page:4", "a ragged:0+3 int32[P]~pages", "a .eps", "a unknown:1"}) {
    EXPECT_THROW(parse_case("rms_norm", line), Error) << line;
  }
}

TEST(OpCase, InputsComeFromTheSeedAlone) {
  const OpCase op_case = parse_case("x", "a float32[3,5]~normal int32[7]~ids:4");
  const std::vector<Tensor> a = make_inputs(op_case, 1), b = make_inputs(op_case, 1);
  const std::vector<Tensor> c = make_inputs(op_case, 2);
  EXPECT_TRUE(same_bytes(a[0].view(), b[0].view()));
  EXPECT_TRUE(same_bytes(a[1].view(), b[1].view()));
  EXPECT_FALSE(same_bytes(a[0].view(), c[0].view()));
}

}  // namespace
}  // namespace lockstep
