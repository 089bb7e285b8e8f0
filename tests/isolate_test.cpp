// Isolated replay: sound ports have no source; planted faults are named where they were planted,
// and nothing else is.
#include "parity/isolate.h"

#include <algorithm>
#include <map>
#include <set>

#include "faults.h"
#include "parity/dump.h"

namespace lockstep::test {
namespace {
using parity::IsolatedTap;

class IsolateTest : public ::testing::TestWithParam<DType> {
 protected:
  // What the sound port of `name` computes, every value, as a recording.
  const parity::Recording& recording(const std::string& name) {
    const auto known = recordings_.find(name);
    if (known != recordings_.end()) return known->second;
    Pipeline sound = open_pipeline(fixture(name).string(), GetParam());
    const std::vector<int32_t> ids = {1, 320, 297, 201, 57, 409, 273, 262, 283, 298, 692, 33};
    parity::dump({&sound}, {parity::plan_prompt(GetParam(), ids, 0, 0, 512)}, {},
                 temp_.path() / name);
    return recordings_.emplace(name, parity::read_recording(temp_.path() / name)).first->second;
  }

  parity::IsolateReport run(const std::string& name, const std::vector<const Fault*>& planted) {
    Model model = Model::open(fixture(name).string(), Registry(), GetParam());
    for (const Fault* fault : planted) plant(model.trace.graph, *fault);
    PipelineOptions options;
    options.max_logit_rows = 512;
    Pipeline pipeline(std::move(model), options);
    return parity::isolate(pipeline, recording(name));
  }

  std::set<std::string> sources(const std::string& name, const std::vector<const Fault*>& planted) {
    const parity::IsolateReport report = run(name, planted);
    EXPECT_TRUE(report.not_replayed.empty()) << report.not_replayed[0];
    EXPECT_GT(report.taps.size(), 30u);
    std::set<std::string> found;
    for (const IsolatedTap& tap : report.taps) {
      if (tap.verdict == IsolatedTap::Verdict::kSource) found.insert(tap.path);
    }
    EXPECT_EQ(report.sound(), found.empty());
    return found;
  }

  TempDir temp_;
  std::map<std::string, parity::Recording> recordings_;
};

TEST_P(IsolateTest, SoundPortsHaveNoSourceAndReplayToTheBit) {
  for (const char* name : kFixtures) {
    for (const IsolatedTap& tap : run(name, {}).taps) {
      EXPECT_EQ(tap.isolated, 0) << name << " " << tap.path;
    }
  }
}

TEST_P(IsolateTest, EachPlantedFaultIsNamedAndNothingElse) {
  for (const Fault& fault : faults()) {
    EXPECT_EQ(sources(fault.fixture, {&fault}), fault.sources) << fault.name;
  }
}

TEST_P(IsolateTest, PairsOfFaultsAreNamedTogether) {
  const std::vector<Fault> all = faults();
  size_t n_pairs = 0;
  for (const Fault& a : all) {
    for (const Fault& b : all) {
      if (&a >= &b || std::string(a.fixture) != b.fixture) continue;
      std::set<std::string> both = a.sources;
      both.insert(b.sources.begin(), b.sources.end());
      EXPECT_EQ(sources(a.fixture, {&a, &b}), both) << a.name << " and " << b.name;
      ++n_pairs;
    }
  }
  EXPECT_GE(n_pairs, 10u);
}

INSTANTIATE_TEST_SUITE_P(DTypes, IsolateTest, ::testing::Values(DType::kFloat32, DType::kBFloat16),
                         [](const auto& dtype) { return std::string(dtype_name(dtype.param)); });

class IsolateGoldenTest : public ::testing::TestWithParam<const char*> {};

TEST_P(IsolateGoldenTest, SoundPortHasNoSourceAgainstTransformers) {
  const std::string model = fixture(GetParam()).string();
  const parity::Recording golden = parity::read_recording(fixture(GetParam()) / "golden");
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    Pipeline pipeline = open_pipeline(model, dtype);
    const parity::IsolateReport report = parity::isolate(pipeline, golden);
    EXPECT_GT(report.taps.size(), 10u);
    for (const IsolatedTap& tap : report.taps) {
      EXPECT_NE(tap.verdict, IsolatedTap::Verdict::kSource)
          << tap.run << " " << tap.path << " " << tap.isolated << " of " << tap.ops;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, IsolateGoldenTest, ::testing::ValuesIn(kFixtures),
                         [](const auto& model) { return std::string(model.param); });

}  // namespace
}  // namespace lockstep::test
