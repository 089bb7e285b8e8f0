// Registered architectures against what transformers computed for their fixtures.
#include <algorithm>
#include <map>

#include "support.h"

namespace lockstep::test {
namespace {

constexpr double kLogitsBar = 3e-6;  // relative L2, float32
constexpr double kTapsBar = 5e-6;
constexpr double kTieMargin = 1e-4;  // below it the reference's own argmax is a coin toss

class GoldenTest : public ::testing::TestWithParam<std::string> {
 protected:
  std::string model() const { return fixture(GetParam()).string(); }
  Golden golden_{GetParam()};
};

TEST_P(GoldenTest, LogitsOfEveryPromptInFloat32) {
  Pipeline pipeline = open_pipeline(model(), DType::kFloat32);
  double worst = 0;
  for (size_t i = 0; i < golden_.n_prompts(); ++i) {
    const double error = relative_l2(all_logits(pipeline, golden_.prompt(i)),
                                     golden_.values("float32.logits." + std::to_string(i)));
    EXPECT_LE(error, kLogitsBar) << "prompt " << i;
    worst = std::max(worst, error);
  }
  const std::vector<double> all = all_logits(pipeline, golden_.long_ids());
  const std::vector<double> last16(all.end() - 16 * pipeline.vocab_size(), all.end());
  const double error = relative_l2(last16, golden_.values("float32.long_logits_last16"));
  EXPECT_LE(error, kLogitsBar) << "long prompt";
  printf("  %s: worst relative L2 of float32 logits %.2g\n", GetParam().c_str(),
         std::max(worst, error));
}

// Follows the golden's own greedy text: prefill, then token by token.
void check_steps(Pipeline& pipeline, const Golden& golden, const std::vector<int32_t>& prompt,
                 const std::string& name, const std::vector<int32_t>& greedy,
                 const std::vector<double>& margins, double& worst) {
  const std::vector<double> ids = golden.values("float32.steps." + name + ".top_ids");
  const std::vector<double> top = golden.values("float32.steps." + name + ".top_logits");
  const std::vector<double> lse = golden.values("float32.steps." + name + ".logsumexp");
  const size_t k = top.size() / greedy.size();
  ASSERT_EQ(lse.size(), greedy.size());
  Sequence sequence;
  View logits = pipeline.prefill(sequence, prompt);
  for (size_t step = 0; step < greedy.size(); ++step) {
    const std::vector<double> row = to_doubles(logits);
    std::vector<double> found, expected;
    for (size_t j = 0; j < k; ++j) {
      found.push_back(row[static_cast<size_t>(ids[step * k + j])]);
      expected.push_back(top[step * k + j]);
    }
    const double error = relative_l2(found, expected);
    EXPECT_LE(error, kLogitsBar) << name << " step " << step;
    worst = std::max(worst, error);
    double sum = 0;
    for (const double x : row) sum += std::exp(x - row[argmax(logits, 0)]);
    EXPECT_NEAR(std::log(sum) + row[argmax(logits, 0)], lse[step], kLogitsBar * std::abs(lse[step]))
        << name << " step " << step;
    if (margins[step] >= kTieMargin) {
      EXPECT_EQ(argmax(logits, 0), greedy[step]) << name << " step " << step;
    }
    const Segment segment{&sequence, {&greedy[step], 1}, LogitRows::kLast};
    logits = pipeline.step({&segment, 1});
  }
  pipeline.release(sequence);
}

TEST_P(GoldenTest, EveryStepOfTheGreedyTextInFloat32) {
  Pipeline pipeline = open_pipeline(model(), DType::kFloat32);
  const nlohmann::json& run = golden_.expected["runs"]["float32"];
  double worst = 0;
  for (size_t i = 0; i < golden_.n_prompts(); ++i) {
    check_steps(pipeline, golden_, golden_.prompt(i), std::to_string(i), run["greedy"][i],
                run["greedy_margin"][i], worst);
  }
  check_steps(pipeline, golden_, golden_.long_ids(), "long", run["greedy_long"],
              run["greedy_long_margin"], worst);
  printf("  %s: worst relative L2 of float32 step logits %.2g\n", GetParam().c_str(), worst);
}

// The reference calls some norms head-major, [1, heads, tokens, width]; ports are token-major.
std::vector<double> token_major(std::vector<double> values, const std::vector<int64_t>& shape,
                                const View& like) {
  const bool is_turned = shape.size() == 4 && like.rank == 3 && shape[1] == like.dim(1) &&
                         shape[2] == like.dim(0) && shape[1] != shape[2];
  if (!is_turned) return values;
  const auto heads = static_cast<size_t>(shape[1]), tokens = static_cast<size_t>(shape[2]),
             width = static_cast<size_t>(shape[3]);
  std::vector<double> turned(values.size());
  for (size_t h = 0; h < heads; ++h) {
    for (size_t t = 0; t < tokens; ++t) {
      std::copy_n(values.begin() + static_cast<ptrdiff_t>((h * tokens + t) * width), width,
                  turned.begin() + static_cast<ptrdiff_t>((t * heads + h) * width));
    }
  }
  return turned;
}

// Modules that run inside an experts dispatch, on rows in an order of the implementation's own, and
// dropout of attention weights, which attention never has in memory.
bool has_no_tap(const std::string& path) {
  return path.ends_with(".experts.act_fn") || path.ends_with(".attention_dropout");
}

// Runs `ids` and compares every module output the golden has under `prefix`.
void check_taps(Pipeline& pipeline, const Golden& golden, const std::vector<int32_t>& ids,
                const std::string& prefix) {
  std::map<std::string, ValueId> values;
  for (const Tap& tap : list_taps(pipeline.graph(), "*", TapInputs::kNo)) {
    if (tap.index != 0) continue;
    values.emplace(tap.call == 0 ? tap.path : tap.path + "#" + std::to_string(tap.call), tap.value);
  }
  std::map<ValueId, std::vector<double>> computed;
  std::map<ValueId, View> views;  // for their shapes
  std::vector<ValueId> observed;
  for (const auto& [path, value] : values) observed.push_back(value);
  pipeline.observe(observed, [&](ValueId v, const View& rows) {
    computed[v] = to_doubles(rows);
    views[v] = rows;
  });
  all_logits(pipeline, ids);
  pipeline.observe({}, nullptr);
  size_t n_compared = 0;
  double worst = 0;
  std::vector<std::string> left_out;
  for (const TensorEntry& entry : golden.tensors.tensors()) {
    if (!entry.name.starts_with(prefix)) continue;
    const std::string path = entry.name.substr(prefix.size());
    if (has_no_tap(path) && !values.contains(path)) {
      left_out.push_back(path);
      continue;
    }
    ASSERT_TRUE(values.contains(path)) << path << " is no tap of the port";
    const ValueId value = values.at(path);
    const std::vector<double> expected =
        token_major(golden.values(entry.name), entry.shape, views.at(value));
    const double error = relative_l2(computed.at(value), expected);
    EXPECT_LE(error, kTapsBar) << path;
    worst = std::max(worst, error);
    ++n_compared;
  }
  EXPECT_GE(n_compared, 8u);
  printf("  %zu taps under %s, worst relative L2 %.2g\n", n_compared, prefix.c_str(), worst);
  for (const std::string& path : left_out) printf("  left out: %s\n", path.c_str());
}

TEST_P(GoldenTest, EveryModuleOutputInFloat32) {
  Pipeline pipeline = open_pipeline(model(), DType::kFloat32);
  check_taps(pipeline, golden_, golden_.prompt(0), "float32.out.");
  const std::vector<int32_t> ids = golden_.long_ids();
  check_taps(pipeline, golden_, {ids.begin(), ids.begin() + 64}, "float32.out64.");
}

// The port's bfloat16 error may be at most 1.5 times the reference's own, both against float32.
TEST_P(GoldenTest, LogitsInBFloat16) {
  Pipeline pipeline = open_pipeline(model(), DType::kBFloat16);
  double worst = 0;
  const auto check = [&](const std::vector<double>& found, const std::string& name) {
    const std::vector<double> exact = golden_.values("float32." + name);
    const double own = relative_l2(golden_.values("bfloat16." + name), exact);
    const double error = relative_l2(found, exact);
    EXPECT_LE(error, 1.5 * own) << name;
    worst = std::max(worst, error / own);
  };
  for (size_t i = 0; i < golden_.n_prompts(); ++i) {
    check(all_logits(pipeline, golden_.prompt(i)), "logits." + std::to_string(i));
  }
  const std::vector<double> all = all_logits(pipeline, golden_.long_ids());
  check({all.end() - 16 * pipeline.vocab_size(), all.end()}, "long_logits_last16");
  printf("  %s: worst ratio of bfloat16 errors, port to reference, %.2f\n", GetParam().c_str(),
         worst);
}

// Kernels that do not depend on the other rows: the same bits however the prompt is fed.
TEST_P(GoldenTest, PrefillChunksAndDecodeAreBitIdenticalInFloat32) {
  Pipeline pipeline = open_pipeline(model(), DType::kFloat32);
  const std::vector<int32_t> ids = golden_.long_ids();
  // What a state-space model keeps of a sequence, as the last step leaves it.
  std::map<std::string, ValueId> states;
  std::vector<ValueId> observed;
  for (const Tap& tap : list_taps(pipeline.graph(), "*_state", TapInputs::kNo)) {
    states.emplace(tap.path, tap.value);
    observed.push_back(tap.value);
  }
  std::map<ValueId, std::vector<double>> last;
  pipeline.observe(observed, [&](ValueId v, const View& rows) { last[v] = to_doubles(rows); });
  const std::vector<double> once = all_logits(pipeline, ids);
  const std::map<ValueId, std::vector<double>> expected = last;
  for (const size_t chunk : {7, 1}) {
    last.clear();
    EXPECT_EQ(once, all_logits(pipeline, ids, chunk));
    for (const auto& [path, value] : states) {
      EXPECT_EQ(last[value], expected.at(value)) << path << " in chunks of " << chunk;
    }
  }
  if (!states.empty()) printf("  %s: %zu states, equal bits\n", GetParam().c_str(), states.size());
}

TEST_P(GoldenTest, SequencesInOneBatchDoNotDisturbEachOtherInFloat32) {
  PipelineOptions options;
  options.max_sequences = 5;
  options.max_logit_rows = 5;
  Pipeline pipeline(Model::open(model(), Registry(), DType::kFloat32), options);
  const nlohmann::json& run = golden_.expected["runs"]["float32"];
  std::vector<Sequence> sequences(golden_.n_prompts());
  std::vector<std::vector<int32_t>> next;
  for (size_t i = 0; i < sequences.size(); ++i) next.push_back(golden_.prompt(i));
  for (size_t step = 0; step < 24; ++step) {
    std::vector<Segment> segments;
    for (size_t i = 0; i < sequences.size(); ++i) segments.push_back({&sequences[i], next[i]});
    const View logits = pipeline.step(segments);
    for (size_t i = 0; i < sequences.size(); ++i) {
      if (run["greedy_margin"][i][step] >= kTieMargin) {
        EXPECT_EQ(argmax(logits, static_cast<int64_t>(i)), run["greedy"][i][step]);
      }
      next[i] = {run["greedy"][i][step].get<int32_t>()};
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, GoldenTest, ::testing::ValuesIn(golden_fixtures()),
                         [](const auto& model) { return std::string(model.param); });

}  // namespace
}  // namespace lockstep::test
