// Models that keep a state a sequence: how prompts are fed, who else is in the batch, and who had
// the slot before changes no bit; and which kernel of a scan runs when.
#include <map>

#include "parity/dump.h"
#include "support.h"

namespace lockstep::test {
namespace {

using Bits = std::map<std::string, std::vector<double>>;

class StateTest : public ::testing::Test {
 protected:
  static Pipeline open(DType dtype, int64_t max_sequences = 1, int64_t max_context = 1024) {
    PipelineOptions options;
    options.max_sequences = max_sequences;
    options.max_tokens = options.max_logit_rows = 512;
    options.max_context = max_context;
    return Pipeline(Model::open(fixture("mamba2").string(), Registry(), dtype), options);
  }

  // Reports the states of a step's sequence `at` into `states`; steps of fewer sequences have none.
  static void watch(Pipeline& pipeline, int64_t at, Bits& states) {
    std::map<ValueId, std::string> names;
    std::vector<ValueId> values;
    for (const Tap& tap : list_taps(pipeline.graph(), "*_state", TapInputs::kNo)) {
      names.emplace(tap.value, tap.path);
      values.push_back(tap.value);
    }
    pipeline.observe(values, [names, at, &states](ValueId v, const View& rows) {
      if (at >= rows.dim(0)) return;
      const std::vector<double> all = to_doubles(rows);
      const int64_t n = rows.elements() / rows.dim(0);
      states[names.at(v)] = {all.begin() + at * n, all.begin() + (at + 1) * n};
    });
  }

  const Golden golden_{"mamba2"};
};

TEST_F(StateTest, ABatchOfPrefillsAndDecodesLeavesEachSequenceItsBits) {
  const std::vector<int32_t> ids = golden_.long_ids();
  const std::span<const int32_t> text = std::span(ids).first(30);
  Bits alone, together;
  Pipeline one = open(DType::kFloat32);
  watch(one, 0, alone);
  Sequence sequence;
  one.prefill(sequence, text.first(29));
  const Segment last{&sequence, text.last(1), LogitRows::kLast};
  const std::vector<double> expected = to_doubles(one.step({&last, 1}));
  ASSERT_EQ(alone.size(), 8u);

  Pipeline three = open(DType::kFloat32, 3);
  watch(three, 1, together);
  std::vector<Sequence> sequences(3);
  three.prefill(sequences[1], text.first(9));
  three.prefill(sequences[0], golden_.prompt(0));
  const std::vector<int32_t> others[] = {golden_.prompt(1), golden_.prompt(2)};
  const Segment first[] = {{&sequences[0], others[0], LogitRows::kNone},
                           {&sequences[1], text.subspan(9, 20), LogitRows::kNone}};
  three.step(first);
  const Segment second[] = {{&sequences[2], others[1], LogitRows::kNone},
                            {&sequences[1], text.last(1), LogitRows::kLast},
                            {&sequences[0], std::span(ids).first(1), LogitRows::kNone}};
  EXPECT_EQ(to_doubles(three.step(second)), expected);
  EXPECT_EQ(together, alone);
}

TEST_F(StateTest, ASlotGivenBackIsEmptyForTheNext) {
  Pipeline pipeline = open(DType::kFloat32);
  const std::vector<double> before = all_logits(pipeline, golden_.prompt(0));
  all_logits(pipeline, golden_.long_ids());
  EXPECT_EQ(all_logits(pipeline, golden_.prompt(0)), before);
}

TEST_F(StateTest, StatesAloneSetNoLimitToTheLength) {
  Pipeline small = open(DType::kFloat32, 1, 16), large = open(DType::kFloat32);
  EXPECT_EQ(all_logits(small, golden_.long_ids(), 40), all_logits(large, golden_.long_ids(), 40));
}

TEST_F(StateTest, ChunksOfAScanAreForManyTokensOfBFloat16) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    Pipeline pipeline = open(dtype);
    all_logits(pipeline, golden_.long_ids());
    const auto& calls = pipeline.context().calls;
    const bool is_chunked = dtype == DType::kBFloat16;
    EXPECT_EQ(calls.contains("ssd_scan/cpu.chunked"), is_chunked);
    EXPECT_EQ(calls.contains("ssd_scan/cpu.recurrent"), !is_chunked);
    all_logits(pipeline, golden_.prompt(0), 1);
    EXPECT_TRUE(calls.contains("ssd_scan/cpu.recurrent"));
  }
}

TEST_F(StateTest, ADumpHasTheStatesAsTheLastCallLeavesThem) {
  TempDir temp;
  Pipeline pipeline = open(DType::kFloat32);
  const std::vector<int32_t> prompt = golden_.prompt(1);
  Bits states;
  watch(pipeline, 0, states);
  all_logits(pipeline, prompt);
  pipeline.observe({}, nullptr);
  for (const int64_t chunk : {0, 3}) {
    const std::filesystem::path folder = temp.path() / std::to_string(chunk);
    parity::dump({&pipeline}, {parity::plan_prompt(DType::kFloat32, prompt, 0, chunk, 512)}, {},
                 folder);
    const SafetensorsFile file = SafetensorsFile::open(folder / "tensors.safetensors");
    size_t n = 0;
    for (const TensorEntry& entry : file.tensors()) {
      for (const auto& [path, expected] : states) {
        if (entry.name.find("/" + path + ":") == std::string::npos) continue;
        const bool is_conv = path.ends_with("conv_state");
        const std::vector<int64_t> conv = {160, 4}, ssm = {8, 16, 16};
        EXPECT_EQ(entry.shape, is_conv ? conv : ssm) << path;
        EXPECT_EQ(to_doubles(file.view(entry.name)), expected) << path;
        ++n;
      }
    }
    EXPECT_EQ(n, states.size());
  }
}

}  // namespace
}  // namespace lockstep::test
