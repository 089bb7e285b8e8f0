// The whole protocol on ports with planted faults, and what its three reports and the brief say.
#include "parity/debug/debug.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <sstream>

#include "faults.h"
#include "parity/debug/brief.h"
#include "parity/debug/debug_report.h"
#include "run_program.h"

namespace lockstep::test {
namespace {

using parity::DebugStage;
using parity::Outcome;

std::string file_text(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

const Fault kEpsilon = {"Epsilon", "storyteller", "model.layers.2.post_attention_layernorm",
                        "rms_norm", "eps", 0.05, {}};
const Fault kScale = {"Scale", "storyteller", "model.layers.4.self_attn",
                      "attention", "scale", 0.5, {}};

class DebugTest : public ::testing::Test {
 protected:
  parity::DebugReport run(const std::vector<const Fault*>& faults) {
    const auto open = [&]() -> parity::OpenPort {
      pipelines_.clear();
      parity::OpenPort port;
      for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
        Model model = Model::open(fixture("storyteller").string(), Registry(), dtype);
        for (const Fault* fault : faults) plant(model.trace.graph, *fault);
        pipelines_.push_back(std::make_unique<Pipeline>(std::move(model), PipelineOptions()));
        port.pipelines.push_back(pipelines_.back().get());
      }
      port.sequences = parity::plan_like(reference_, 512);
      return port;
    };
    return parity::debug(reference_, open, options());
  }

  parity::DebugOptions options() {
    scratch_.push_back(std::make_unique<TempDir>());
    parity::DebugOptions options;
    options.model = "MODEL";
    options.dump = scratch_.back()->path() / "dump";
    return options;
  }

  TempDir temp_;
  parity::Recording reference_ = parity::read_recording(fixture("storyteller") / "reference");
  std::vector<std::unique_ptr<Pipeline>> pipelines_;
  std::vector<std::unique_ptr<TempDir>> scratch_;
};

void expect_a_screen(const std::string& text) {
  std::istringstream lines(text);
  int n = 0;
  for (std::string line; std::getline(lines, line); ++n) EXPECT_LE(line.size(), 100u) << line;
  EXPECT_LE(n, 32) << text;
}

TEST_F(DebugTest, ASoundPortPassesAndHasNothingToExplain) {
  const parity::DebugReport report = run({});
  EXPECT_EQ(report.outcome, Outcome::kPass) << report.headline;
  EXPECT_TRUE(report.explained.faults.empty());
  for (const DebugStage& stage : report.stages) {
    EXPECT_EQ(stage.state == DebugStage::State::kSkipped,
              stage.name == "explain" || stage.name == "bisect") << stage.name;
  }
  EXPECT_EQ(report.stopped(), nullptr);
  expect_a_screen(parity::debug_text(reference_, report));
  const std::string page = parity::debug_page(reference_, report);
  EXPECT_NE(page.find(">PASS</h1>"), std::string::npos);
  EXPECT_EQ(page.find("class=\"guilty\""), std::string::npos);
  EXPECT_EQ(parity::write_brief(temp_.path() / "brief", reference_, report, {"MODEL", "", {}}), 0u);
}

TEST_F(DebugTest, TwoFaultsAreNamedInOrderInEveryReport) {
  const parity::DebugReport report = run({&kScale, &kEpsilon});
  ASSERT_EQ(report.outcome, Outcome::kDiverged);
  ASSERT_EQ(report.explained.faults.size(), 2u);
  EXPECT_EQ(report.explained.faults[0].path, kEpsilon.module);
  EXPECT_EQ(report.explained.faults[1].layers, std::vector<int>{4});
  const std::string text = parity::debug_text(reference_, report);
  expect_a_screen(text);
  EXPECT_LT(text.find(kEpsilon.module), text.find(report.explained.faults[1].path));
  const std::string page = parity::debug_page(reference_, report);
  const size_t first = page.find(kEpsilon.module), second = page.find(">2.</span>");
  EXPECT_LT(page.find(">DIVERGED</h1>"), first);
  EXPECT_LT(first, second);
  EXPECT_LT(second, page.find("svg class=\"heat\""));
  const auto json = nlohmann::json::parse(parity::debug_json(reference_, report));
  EXPECT_EQ(json["verdict"], "diverged");
  EXPECT_EQ(json["faults"].size(), 2u);
  EXPECT_EQ(json["faults"][0]["path"], kEpsilon.module);
  EXPECT_EQ(json["stages"].size(), report.stages.size());
}

TEST_F(DebugTest, NoStageRunsTheSameTokensTwice) {
  const parity::DebugReport report = run({&kEpsilon});
  // What isolate takes from the port's recording is what it would have computed.
  for (const parity::IsolatedPort& port : report.isolated) {
    const parity::IsolateReport alone = parity::isolate(*port.pipeline, reference_);
    ASSERT_EQ(alone.taps.size(), port.report.taps.size());
    for (size_t i = 0; i < alone.taps.size(); ++i) {
      EXPECT_EQ(alone.taps[i].accumulated, port.report.taps[i].accumulated) << alone.taps[i].path;
      EXPECT_EQ(alone.taps[i].verdict, port.report.taps[i].verdict) << alone.taps[i].path;
    }
  }
}

TEST_F(DebugTest, AnOpenQuestionBecomesTasksWithTheirEvidence) {
  parity::DebugReport report = run({&kEpsilon});
  ASSERT_EQ(report.explained.faults.size(), 1u);
  report.explained.faults[0].judgement = {};  // as if no cause had been known
  const std::filesystem::path folder = temp_.path() / "brief";
  const parity::BriefOptions options{"MODEL", "--reference REF", {}};
  EXPECT_EQ(parity::write_brief(folder, reference_, report, options), 5u);
  EXPECT_EQ(parity::write_brief(folder, reference_, report, options), 5u);  // over a former one
  const std::string index = file_text(folder / "README.md");
  for (const char* topic : {"weights", "source", "kernel", "micro-test", "sub-taps"}) {
    const std::string file = fmt::format("1-{}.md", topic);
    EXPECT_NE(index.find(file), std::string::npos);
    const std::string task = file_text(folder / file);
    for (const char* part : {"## Evidence", "## Verified", "## Still suspected",
                             "## The command that answers it", kEpsilon.module}) {
      EXPECT_NE(task.find(part), std::string::npos) << file << part;
    }
  }
  EXPECT_NE(file_text(folder / "1-weights.md").find(std::string(kEpsilon.module) + ".weight"),
            std::string::npos);
  EXPECT_NE(file_text(folder / "1-kernel.md").find("rms_norm/ref"), std::string::npos);
  EXPECT_NE(file_text(folder / "1-kernel.md").find("as wrong"), std::string::npos);
  EXPECT_NE(file_text(folder / "1-micro-test.md").find("eps=0.05"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(folder / "1-micro-test" / "expected.npy"));
  size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(temp_.path())) ++n;
  EXPECT_EQ(n, 1u) << "something was left beside the brief";
}

TEST_F(DebugTest, ABriefTakesNobodysFolder) {
  write_text(temp_.path() / "mine.txt", "keep");
  EXPECT_THROW(parity::check_brief_folder(temp_.path()), Error);
  EXPECT_EQ(file_text(temp_.path() / "mine.txt"), "keep");
}

TEST_F(DebugTest, APortThatDoesNotLoadIsSentToTheGates) {
  parity::DebugOptions options = this->options();
  options.port_folder = "ports/mine";
  const parity::DebugReport report = parity::debug(
      reference_, []() -> parity::OpenPort {
        throw Error(ErrorCode::kFailedPrecondition, "no such weight", "write an adapter");
      },
      options);
  EXPECT_EQ(report.outcome, Outcome::kUndecided);
  EXPECT_EQ(report.stopped()->name, "load");
  EXPECT_EQ(report.next, "lockstep gates MODEL --port-dir ports/mine");
  EXPECT_NE(parity::debug_text(reference_, report).find("no such weight"), std::string::npos);
}

TEST_F(DebugTest, ABrokenRecordingEndsUndecidedAndBlamesNoOperator) {
  for (parity::Run& run : reference_.runs) run.info.prompt_ids.resize(1);
  const parity::DebugReport report = run({&kEpsilon});
  EXPECT_EQ(report.outcome, Outcome::kUndecided);
  EXPECT_EQ(report.stopped()->name, "reference");
  EXPECT_NE(report.headline.find("one_token_prompt"), std::string::npos) << report.headline;
  EXPECT_TRUE(report.explained.faults.empty());
}

TEST(DebugPageTest, StrangersTextsAreText) {
  const std::string hostile = "</style><script>alert(1)</script><img src=x onerror=alert(2)>";
  parity::Recording reference;
  reference.model = reference.architecture = hostile;
  reference.path = hostile;
  parity::DebugReport report;
  report.headline = report.next = hostile;
  report.verified = report.suspected = report.not_covered = {hostile};
  report.stages.push_back({hostile, DebugStage::State::kStopped, hostile, {}});
  parity::Fault fault;
  fault.path = fault.module_class = fault.ops = fault.run = fault.source = hostile;
  fault.paths = {hostile, hostile};
  fault.judgement.wanted = {hostile};
  fault.judgement.ambiguity = hostile;
  report.explained.faults.push_back(fault);
  const std::string page = parity::debug_page(reference, report);
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_NE(page.find("&lt;script&gt;"), std::string::npos);
  EXPECT_EQ(page.find("</style>"), page.rfind("</style>"));
}

TEST(DebugCommandTest, ExitsByTheVerdictAndWritesItsFiles) {
  const TempDir temp;
  const std::string model = fixture("storyteller").string();
  const std::string html = (temp.path() / "report.html").string();
  const auto sound = run_lockstep("debug " + model + " --reference " + model + "/reference --html " +
                                  html + " --json", "2>/dev/null");
  EXPECT_EQ(sound.status, 0);
  EXPECT_EQ(nlohmann::json::parse(sound.text)["verdict"], "pass");
  EXPECT_TRUE(file_text(html).starts_with("<!doctype html>"));
  const auto nowhere = run_lockstep("debug " + model + " --reference " + model +
                                    "/reference --html /nowhere/report.html");
  EXPECT_EQ(nowhere.status, 2);
  EXPECT_NE(nowhere.text.find("/nowhere"), std::string::npos);
}

}  // namespace
}  // namespace lockstep::test
