// Isolated replay against what transformers recorded, prefill and decode steps, both dtypes:
// planted faults are named where they were planted, and nothing else is. Recordings of two fixtures
// are committed; LOCKSTEP_RECORDINGS names a folder with others, DIR/NAME each, made by
//
//     record.py tests/fixtures/NAME --detail --steps 2 --prompt-ids 1,2,... --output DIR/NAME
#include <algorithm>
#include <cstdlib>
#include <optional>
#include <set>

#include "faults.h"
#include "parity/isolate.h"

namespace lockstep::test {
namespace {
using parity::IsolatedTap;

using Case = std::tuple<std::string, DType>;

std::filesystem::path recording_folder(const std::string& name) {
  const char* folder = std::getenv("LOCKSTEP_RECORDINGS");
  if (folder != nullptr) return std::filesystem::path(folder) / name;
  return source_dir() / "tests" / "fixtures" / "recordings" / name;
}

class IsolateRecordingsTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const std::filesystem::path folder = recording_folder(name_);
    if (!std::filesystem::exists(folder / "manifest.json")) {
      GTEST_SKIP() << "no recording of " << name_ << "; LOCKSTEP_RECORDINGS names a folder of them";
    }
    recording_ = parity::read_recording(folder);
  }

  parity::IsolateReport run(const std::vector<const Fault*>& planted) {
    Model model = Model::open(fixture(name_).string(), Registry(), dtype_);
    for (const Fault* fault : planted) plant(model.trace.graph, *fault);
    PipelineOptions options;
    options.max_logit_rows = options.max_tokens;
    Pipeline pipeline(std::move(model), options);
    return parity::isolate(pipeline, recording_);
  }

  void expect_sources(const std::vector<const Fault*>& planted) {
    std::set<std::string> expected, found;
    std::string names;
    for (const Fault* fault : planted) {
      expected.insert(fault->sources.begin(), fault->sources.end());
      names += (names.empty() ? "" : " + ") + std::string(fault->name);
    }
    double least = INFINITY;  // of what is guilty, how far above the bar, in the run that shows it
    std::map<std::string, double> most;
    for (const IsolatedTap& tap : run(planted).taps) {
      // What goes into a module is what, without recorded inputs, shows at its output.
      const std::string path = tap.path.substr(0, tap.path.find(":input"));
      if (tap.verdict == IsolatedTap::Verdict::kSource) found.insert(path);
      most[path] = std::max(most[path], tap.isolated / tap.bar);
    }
    for (const std::string& path : expected) least = std::min(least, most[path]);
    EXPECT_EQ(found, expected) << names;
    printf("  %s %s %s: %s, %.3g bars\n", name_.c_str(), std::string(dtype_name(dtype_)).c_str(),
           names.c_str(), found == expected ? "named" : "MISJUDGED", least);
  }

  std::vector<Fault> of_this_fixture() const {
    std::vector<Fault> chosen = faults();
    std::erase_if(chosen, [&](const Fault& fault) { return name_ != fault.fixture; });
    return chosen;
  }

  const std::string name_ = std::get<0>(GetParam());
  const DType dtype_ = std::get<1>(GetParam());
  parity::Recording recording_;
};

TEST_P(IsolateRecordingsTest, SoundPortHasNoSource) {
  const parity::IsolateReport report = run({});
  EXPECT_GT(report.taps.size(), 60u);
  double worst = 0;
  std::string where;
  for (const IsolatedTap& tap : report.taps) {
    EXPECT_NE(tap.verdict, IsolatedTap::Verdict::kSource)
        << tap.run << " " << tap.path << " " << tap.isolated << " of " << tap.ops;
    if (tap.isolated / tap.bar <= worst) continue;
    worst = tap.isolated / tap.bar;
    where = tap.run + " " + tap.path;
  }
  printf("  %s: %zu values, at most %.2f bars (%s); %zu not replayed\n", name_.c_str(),
         report.taps.size(), worst, where.c_str(), report.not_replayed.size());
}

TEST_P(IsolateRecordingsTest, EachPlantedFaultIsNamedAndNothingElse) {
  for (const Fault& fault : of_this_fixture()) expect_sources({&fault});
}

TEST_P(IsolateRecordingsTest, PairsOfFaultsAreNamedTogether) {
  const std::vector<Fault> chosen = of_this_fixture();
  for (size_t a = 0; a < chosen.size(); ++a) {
    for (size_t b = a + 1; b < chosen.size(); ++b) expect_sources({&chosen[a], &chosen[b]});
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, IsolateRecordingsTest,
                         ::testing::Combine(::testing::Values("llama", "gemma3", "gpt2", "mamba2",
                                                              "mixtral", "deepseek_v3"),
                                            ::testing::Values(DType::kFloat32, DType::kBFloat16)),
                         [](const auto& instance) {
                           return std::get<0>(instance.param) + "_" +
                                  std::string(dtype_name(std::get<1>(instance.param)));
                         });

}  // namespace
}  // namespace lockstep::test
