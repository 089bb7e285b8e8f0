// Causes of planted faults: named with their numbers, the logits right once they are put right, and
// nothing named in a sound port. The recording is what the sound port computes.
#include "parity/explain/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "../faults.h"
#include "parity/dump.h"

namespace lockstep::test {
namespace {
using parity::CauseVerdict;

// Rows of the catalogue that each fault of faults.h is. The style alone, with the tables as they
// are, is right tables applied wrongly.
const std::map<std::string, int> kRows = {
    {"RotationStyle", 8},        {"Epsilon", 35},          {"AttentionScale", 15},
    {"NoResidual", 39},          {"Window", 23},           {"NoUnitOffset", 34},
    {"Activation", 48},          {"LayerNormEpsilon", 35}, {"StepLimit", 65},
    {"ConvolvedActivation", 48}, {"Renormalised", 53},     {"ExpertActivation", 48},
    {"LatentScale", 15},         {"RoutingFactor", 53}};

class ExplainTest : public ::testing::TestWithParam<bool> {
 protected:
  // What the sound port of `name` computes, with what goes into modules or without.
  const parity::Recording& recording(const std::string& name) {
    const auto known = recordings_.find(name);
    if (known != recordings_.end()) return known->second;
    Pipeline sound = open_pipeline(fixture(name).string(), DType::kFloat32);
    const std::vector<int32_t> ids = {1,   320, 297, 201, 57, 409, 273, 262, 283, 298, 692, 33,
                                      714, 12,  88,  19,  5,  601, 340, 77,  91,  204, 6,   450};
    parity::dump({&sound}, {parity::plan_prompt(DType::kFloat32, ids, 0, 0, 512)},
                 {.inputs = GetParam() ? TapInputs::kYes : TapInputs::kNo}, temp_.path() / name);
    return recordings_.emplace(name, parity::read_recording(temp_.path() / name)).first->second;
  }

  parity::ExplainReport run(const std::string& name, const std::vector<const Fault*>& planted) {
    Model model = Model::open(fixture(name).string(), Registry(), DType::kFloat32);
    for (const Fault* fault : planted) plant(model.trace.graph, *fault);
    PipelineOptions options;
    options.max_logit_rows = 512;
    Pipeline pipeline(std::move(model), options);
    return parity::explain({&pipeline}, recording(name));
  }

  TempDir temp_;
  std::map<std::string, parity::Recording> recordings_;
};

std::string describe(const parity::Fault& fault) {
  std::string text = fault.path + " (" + fault.ops + "): ";
  const auto& ranked = fault.judgement.ranked;
  for (size_t i = 0; i < std::min<size_t>(3, ranked.size()); ++i) {
    text +=
        fmt::format("[{} row {} fits {} explained {:.6f} port {:.1e} ref {:.1e}] ",
                    ranked[i].cause->id, ranked[i].cause->row, ranked[i].fits, ranked[i].explained,
                    ranked[i].finding.port_error, ranked[i].finding.reference_error);
  }
  return text + fault.judgement.ambiguity;
}

TEST_P(ExplainTest, NothingIsWrongWithSoundPorts) {
  for (const char* name : kFixtures) {
    const parity::ExplainReport report = run(name, {});
    EXPECT_TRUE(report.faults.empty()) << name << " " << describe(report.faults[0]);
    EXPECT_TRUE(report.is_complete()) << name << " " << report.logits_left;
    EXPECT_GT(report.n_values, 30u) << name;
  }
}

TEST_P(ExplainTest, EachPlantedFaultHasItsCauseFirst) {
  for (const test::Fault& planted : faults()) {
    const parity::ExplainReport report = run(planted.fixture, {&planted});
    ASSERT_FALSE(report.faults.empty()) << planted.name;
    EXPECT_TRUE(report.is_complete()) << planted.name << " " << report.logits_left;
    for (const parity::Fault& fault : report.faults) {
      ASSERT_NE(fault.judgement.verdict, CauseVerdict::kUndecided)
          << planted.name << " " << describe(fault);
      EXPECT_EQ(fault.judgement.ranked[0].cause->row, kRows.at(planted.name))
          << planted.name << " " << describe(fault);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Recordings, ExplainTest, ::testing::Bool(), [](const auto& with_inputs) {
  return with_inputs.param ? std::string("WithInputs") : std::string("OutputsAlone");
});

}  // namespace
}  // namespace lockstep::test
