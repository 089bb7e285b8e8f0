// Faults that a prefill cannot show are found at the stage they belong to, with the tensor and the
// number that says what is wrong; sound ports pass.
#include "parity/bisect/bisect.h"

#include <gtest/gtest.h>

#include "bisect_support.h"

namespace lockstep::test {
namespace {

using parity::BisectOptions;
using parity::BisectReport;
using parity::Stage;
using parity::StageFinding;
using Kind = parity::StepEvidence::Kind;

BisectReport run(const std::string& name, const Plant& plant, const BisectOptions& options = {}) {
  ThreadPool pool(1);
  const parity::Subject subject = subject_of(fixture(name), plant);
  return parity::bisect(subject, golden_of(name), options, pool);
}

BisectOptions prompt_alone(int prompt) {
  BisectOptions options;
  options.prompt = prompt;
  return options;
}

struct StepFault {
  const char* name;
  const char* fixture;
  Plant plant;
  Stage stage;
  Kind kind;
  const char* tensor;    // the first that differs
  const char* measured;  // part of what is said about it
};

std::vector<StepFault> step_faults() {
  return {
      {"PositionOneTooLow", "llama", [](Graph& g) { plant_decode_positions(g, -1); },
       Stage::kIncremental, Kind::kPosition, "model.rotary_emb", "delta -1"},
      {"PositionOneTooHigh", "gpt2", [](Graph& g) { plant_decode_positions(g, 1); },
       Stage::kIncremental, Kind::kPosition, "transformer.wpe", "delta +1"},
      {"PositionStuck", "llama", plant_stuck_position, Stage::kIncremental, Kind::kPosition,
       "model.rotary_emb", "delta -1"},
      {"StaleTables", "llama",
       [](Graph& g) { plant_stale_tables(g, "layers.1.self_attn"); }, Stage::kIncremental,
       Kind::kPosition, "model.layers.1.self_attn/q_rot", "delta -1"},
      {"CacheRowOverwritten", "llama",
       [](Graph& g) { plant_overwritten_row(g, "layers.1.self_attn"); }, Stage::kIncremental,
       Kind::kCache, "model.layers.1.self_attn/k_cache", "overwritten"},
      {"CachedBeforeRotation", "llama",
       [](Graph& g) { plant_unrotated_cache(g, "layers.0.self_attn"); }, Stage::kIncremental,
       Kind::kCache, "model.layers.0.self_attn/k_cache", "before rotation"},
      {"WindowOfConvolution", "mamba2",
       [](Graph& g) { plant_shifted_window(g, "layers.1.mixer.conv1d"); }, Stage::kIncremental,
       Kind::kState, "backbone.layers.1.mixer.conv1d", "leave behind"},
      {"RecurrentState", "mamba2",
       [](Graph& g) { plant_scaled_state(g, "ssd_scan", "layers.2.mixer", 9, 0.5); },
       Stage::kIncremental, Kind::kState, "backbone.layers.2.mixer/ssm_state", "leave behind"},
      {"SingleRow", "llama",
       [](Graph& g) { plant_single_row(g, "linear", "layers.2.mlp.down_proj"); },
       Stage::kIncremental, Kind::kCompute, "model.layers.2.mlp.down_proj", "do not"},
      {"CrossTalk", "llama", [](Graph& g) { plant_cross_talk(g, "layers.1.self_attn"); },
       Stage::kBatched, Kind::kCache, "model.layers.1.self_attn/k_cache", "differ"},
      {"ChunkBoundary", "llama", plant_chunk_boundary, Stage::kChunked, Kind::kPosition,
       "model.rotary_emb", "delta +1"},
      {"WrongPage", "llama", [](Graph& g) { plant_wrong_page(g, "layers.1.self_attn"); },
       Stage::kPrefixCached, Kind::kCompute, "model.layers.1.self_attn/context", "differs"},
      {"LostToken", "llama", plant_lost_token, Stage::kPreempted, Kind::kTokens,
       "model.embed_tokens", "is that of the token at"},
  };
}

class StepFaultTest : public ::testing::TestWithParam<StepFault> {};

TEST_P(StepFaultTest, IsFoundAtItsStage) {
  const StepFault& fault = GetParam();
  const size_t n_wrapped = internal::wrapped_ops().size();
  const BisectReport report = run(fault.fixture, fault.plant, prompt_alone(1));
  ASSERT_GT(internal::wrapped_ops().size(), n_wrapped) << "nothing was planted";
  ASSERT_NE(report.first(), nullptr) << fault.name << " was not found";
  EXPECT_EQ(report.first()->stage, fault.stage) << findings_of(report);
  EXPECT_EQ(report.outcome, parity::Outcome::kDiverged);
  const StageFinding& finding = report.first()->findings.front();
  EXPECT_EQ(finding.dtype, "float32");
  ASSERT_TRUE(finding.evidence) << findings_of(report);
  EXPECT_EQ(finding.evidence->kind, fault.kind) << findings_of(report);
  EXPECT_EQ(finding.evidence->tensor, fault.tensor) << findings_of(report);
  EXPECT_NE(findings_of(report).find(fault.measured), std::string::npos) << findings_of(report);
}

INSTANTIATE_TEST_SUITE_P(Faults, StepFaultTest, ::testing::ValuesIn(step_faults()),
                         [](const auto& fault) { return std::string(fault.param.name); });

TEST(BisectTest, SoundPortsPassEveryStage) {
  for (const char* name : {"llama", "mamba2"}) {
    const BisectReport report = run(name, {});
    EXPECT_EQ(report.outcome, parity::Outcome::kPass) << name << "\n" << findings_of(report);
    for (const parity::StageResult& stage : report.stages) {
      const bool can_run = stage.stage != Stage::kServed &&
                           !(stage.stage == Stage::kPreempted && std::string(name) == "mamba2");
      EXPECT_EQ(stage.probes > 0, can_run) << name << " " << stage_name(stage.stage);
    }
  }
}

TEST(BisectTest, TooLittleIsUndecided) {
  parity::Recording reference = golden_of("llama");
  reference.greedy.clear();
  ThreadPool pool(1);
  const parity::Subject subject = subject_of(fixture("llama"));
  const BisectReport report = parity::bisect(subject, reference, {}, pool);
  EXPECT_EQ(report.outcome, parity::Outcome::kUndecided);
  ASSERT_FALSE(report.not_covered.empty());
  EXPECT_NE(report.not_covered[0].find("greedy text"), std::string::npos);
}

TEST(BisectTest, AGraphFaultIsTheForcedStages) {
  const auto plant = [](Graph& graph) {
    for (const size_t n : nodes_of(graph, "rms_norm", "layers.1.input_layernorm")) {
      graph.nodes[n].attrs.set("eps", 0.5);
    }
  };
  const BisectReport report = run("llama", plant, prompt_alone(0));
  ASSERT_NE(report.first(), nullptr);
  EXPECT_EQ(report.first()->stage, Stage::kTeacherForced) << findings_of(report);
  EXPECT_EQ(report.first()->findings[0].against, "the reference");
}

TEST(BisectTest, AnotherTextOfTheReferenceIsTheTokenizersStage) {
  parity::Recording reference = golden_of("llama");
  ASSERT_FALSE(reference.prompts.empty());
  reference.prompts[0].text += " not";
  ThreadPool pool(1);
  const parity::Subject subject = subject_of(fixture("llama"));
  const BisectReport report = parity::bisect(subject, reference, prompt_alone(0), pool);
  ASSERT_NE(report.first(), nullptr);
  EXPECT_EQ(report.first()->stage, Stage::kTokenizer);
  EXPECT_EQ(report.first()->findings[0].token, 5);
}

// A control tells whose fault it is: the same wrapper in both is the engine's, in one the port's.
TEST(BisectTest, AControlTellsEngineFromPort) {
  ThreadPool pool(1);
  const Plant fault = [](Graph& g) { plant_decode_positions(g, -1); };
  const parity::Subject faulty = subject_of(fixture("llama"), fault);
  const parity::Subject sound = subject_of(fixture("llama"));
  const BisectReport report = parity::bisect(faulty, golden_of("llama"), prompt_alone(1), pool);
  EXPECT_EQ(parity::run_control(faulty, faulty, report, pool).verdict,
            parity::Control::Verdict::kEngine);
  EXPECT_EQ(parity::run_control(faulty, sound, report, pool).verdict,
            parity::Control::Verdict::kPort);
  const parity::Subject other = subject_of(fixture("mamba2"));
  EXPECT_EQ(parity::run_control(faulty, other, report, pool).verdict,
            parity::Control::Verdict::kUndecided);
}

}  // namespace
}  // namespace lockstep::test
