// lockstep plan: what it says and writes, its exit status, and how it ranks the families' fixtures.
#include "port/plan.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "../run_program.h"
#include "../support.h"
#include "port/delta.h"

namespace lockstep::test {
namespace {

namespace fs = std::filesystem;

// A folder for PORT.md, and a Python that is none, so that nothing of this machine's is imported.
class PlanCommandTest : public testing::Test {
 protected:
  fs::path port() const { return temp_.path() / "PORT.md"; }
  std::string text_of(const fs::path& file) const {
    std::ifstream in(file);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  // Plans `fixture` as if its class were unknown.
  Outcome plan(const std::string& name, const std::string& class_name,
               const std::string& options = "", const char* redirect = "2>&1") {
    return run_lockstep("plan " + fixture(name).string() + " --without " + class_name +
                            " --output-dir " + temp_.path().string() + " " + options,
                        redirect);
  }

  // Answers the probe as a sound Python would, and then prints `answer`.
  fs::path fake_python(const std::string& answer) {
    fs::path file = temp_.path() / "python";
    write_text(temp_.path() / "answer", answer + "\n");
    write_text(file,
               "#!/bin/sh\nif [ \"$1\" = -c ]; then\n"
               "  echo '{\"version\": \"3.11.2\", \"missing\": [], \"old\": false}'\nelse\n"
               "  cat '" +
                   (temp_.path() / "answer").string() + "'\nfi\n");
    fs::permissions(file, fs::perms::owner_all);
    return file;
  }

  void SetUp() override { setenv("LOCKSTEP_PYTHON", "/no/such/python", 1); }
  void TearDown() override { unsetenv("LOCKSTEP_PYTHON"); }

  TempDir temp_;
};

bool has(const Outcome& outcome, const std::string& part) {
  return outcome.text.find(part) != std::string::npos;
}

TEST_F(PlanCommandTest, ARegisteredClassNeedsNoPort) {
  const Outcome outcome =
      run_lockstep("plan " + fixture("llama").string() + " --output-dir " + temp_.path().string());
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_TRUE(has(outcome, "LlamaForCausalLM is registered (llama): no port is needed."));
  EXPECT_TRUE(has(outcome, "next: lockstep generate ")) << outcome.text;
  EXPECT_FALSE(fs::exists(port()));
}

TEST_F(PlanCommandTest, SaysThePlanAndWritesIt) {
  const Outcome outcome = plan("deepseek_v3", "DeepseekV3ForCausalLM");
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  for (const char* part :
       {"Distribution: one\ndevice", "Quantisation: none; a folder has no siblings on the Hub.",
        "Validation: tier 6", "Hardware: ", "Donor: deepseek_v2", "three\nor fewer",
        "not compared: the reference's sources: no Python with torch",
        "Scaffold DeepseekV3ForCausalLM from deepseek_v2 with ", "next: lockstep scaffold "}) {
    std::string flat = outcome.text, wanted = part;
    std::ranges::replace(flat, '\n', ' ');
    std::ranges::replace(wanted, '\n', ' ');
    EXPECT_NE(flat.find(wanted), std::string::npos) << part << "\n" << outcome.text;
  }
  std::istringstream lines(outcome.text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("next: ") || line.starts_with("written: ")) continue;
    EXPECT_LE(line.size(), 100u) << line;
  }
  const std::string record = text_of(port());
  EXPECT_NE(record.find("<!-- lockstep:plan -->"), std::string::npos);
  EXPECT_NE(record.find("| 1 | structural | experts |"), std::string::npos) << record;
}

TEST_F(PlanCommandTest, AnotherDonorAndOtherSizes) {
  const Outcome outcome = plan("deepseek_v3", "DeepseekV3ForCausalLM",
                               "--start-from llama --memory 1MB --tier 2 --dtype float32 "
                               "--context 1000 --batch 4 --json",
                               "2>/dev/null");
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  const nlohmann::json document = nlohmann::json::parse(outcome.text);
  EXPECT_EQ(document["donor"], "llama");
  EXPECT_EQ(document["good_donor"], false);
  EXPECT_EQ(document["tier"], 2);
  EXPECT_EQ(document["dtype"], "float32");
  EXPECT_EQ(document["memory"], 1000000);
  const auto weights = document["weight_bytes"].get<uint64_t>();
  EXPECT_EQ(weights, static_cast<uint64_t>(document["parameters"].get<double>()) * 4);
  // Four layers of four heads of 16 channels, keys and values, in float32.
  EXPECT_EQ(document["cache_bytes"], 4 * 2 * 4 * 16 * 4 * 1000 * 4);
  EXPECT_EQ(document["devices"], port::devices_for(weights + 8192000, 1000000));
  EXPECT_EQ(document["donors"][0]["slug"], "deepseek_v2");
  EXPECT_EQ(document["not_compared"].size(), 1u);
}

TEST_F(PlanCommandTest, AnUnknownDonorIsRefused) {
  const Outcome outcome = plan("deepseek_v3", "DeepseekV3ForCausalLM", "--start-from deepsek_v2");
  EXPECT_EQ(outcome.status, 2);
  EXPECT_TRUE(has(outcome, "--start-from: expected the slug of a registered architecture"));
  EXPECT_TRUE(has(outcome, "perhaps deepseek_v2")) << outcome.text;
  EXPECT_FALSE(fs::exists(port()));
}

TEST_F(PlanCommandTest, WrongUsage) {
  EXPECT_EQ(plan("llama", "LlamaForCausalLM", "--tier 7").status, 2);
  EXPECT_EQ(plan("llama", "LlamaForCausalLM", "--dtype int3").status, 2);
  EXPECT_EQ(plan("llama", "LlamaForCausalLM", "--context 0").status, 2);
  EXPECT_EQ(plan("llama", "LlamaForCausalLM", "--devices -1").status, 2);
  EXPECT_EQ(plan("llama", "LlamaForCausalLM", "--python /no/such/python").status, 2);
  EXPECT_EQ(run_lockstep("plan " + (temp_.path() / "nothing").string()).status, 2);
  EXPECT_FALSE(fs::exists(port()));
}

TEST_F(PlanCommandTest, AWallBlocks) {
  fs::copy(fixture("llama"), temp_.path() / "model", fs::copy_options::recursive);
  nlohmann::json config = read_json(temp_.path() / "model" / "config.json");
  config["architectures"] = {"MadeUpForConditionalGeneration"};
  config["model_type"] = "made_up";
  config["is_encoder_decoder"] = true;
  config["encoder_layers"] = 4;
  write_text(temp_.path() / "model" / "config.json", config.dump());
  const Outcome outcome = run_lockstep("plan " + (temp_.path() / "model").string() +
                                       " --output-dir " + temp_.path().string());
  EXPECT_EQ(outcome.status, 2) << outcome.text;
  EXPECT_TRUE(has(outcome, "Blocked by a wall, [encoder_decoder]")) << outcome.text;
  EXPECT_TRUE(has(outcome, "next: lockstep check-walls ")) << outcome.text;
  EXPECT_FALSE(fs::exists(port()));
}

TEST_F(PlanCommandTest, WithoutWeightsThereIsNothingToCompare) {
  fs::copy(fixture("llama"), temp_.path() / "model", fs::copy_options::recursive);
  fs::remove(temp_.path() / "model" / "model.safetensors");
  fs::remove_all(temp_.path() / "model" / "golden");
  const Outcome outcome =
      run_lockstep("plan " + (temp_.path() / "model").string() +
                   " --without LlamaForCausalLM --output-dir " + temp_.path().string());
  EXPECT_EQ(outcome.status, 2) << outcome.text;
  EXPECT_TRUE(has(outcome, "expected tensor headers to compare donors with")) << outcome.text;
  EXPECT_FALSE(fs::exists(port()));
}

TEST_F(PlanCommandTest, AskedOnATerminalAlone) {
  const std::string command = "plan " + fixture("llama").string() +
                              " --without LlamaForCausalLM --output-dir " + temp_.path().string();
  if (run_shell("script --version 2>&1").status != 0) GTEST_SKIP() << "there is no script(1)";
  const std::string program = std::string(LOCKSTEP_BINARY_DIR) + "/bin/lockstep ";
  const auto on_terminal = [&](const std::string& options, const std::string& typed) {
    return run_shell("printf '" + typed + "' | script -qec '" + program + command + options +
                     "' /dev/null 2>&1");
  };
  const Outcome vetoed = on_terminal("", "n\\n");
  EXPECT_EQ(vetoed.status, 1) << vetoed.text;
  EXPECT_TRUE(has(vetoed, "go on with this plan? [Y/n]")) << vetoed.text;
  EXPECT_TRUE(has(vetoed, "vetoed: nothing was written")) << vetoed.text;
  EXPECT_FALSE(fs::exists(port()));
  const Outcome agreed = on_terminal("", "y\\n");
  EXPECT_EQ(agreed.status, 0) << agreed.text;
  EXPECT_TRUE(fs::exists(port()));
  const Outcome yes = on_terminal(" --yes", "");
  EXPECT_EQ(yes.status, 0);
  EXPECT_FALSE(has(yes, "go on with this plan?")) << yes.text;
}

TEST_F(PlanCommandTest, WhatTheSourcesSayIsJoined) {
  const fs::path python = fake_python(
      R"~({"event": "done", "transformers": "5.0", "file": "/x/modeling_y.py", "not_compared": [],
          "keys": {}, "unread": [], "donors": {"MistralForCausalLM": {"not_compared": [],
          "differences": [{"part": "norm", "where": "modeling_y.py:12", "reference": "adds one",
          "donor": "does not (modeling_mistral.py:3)", "change": "add one", "names": [],
          "tensors": []}]}}})~");
  std::string answer = text_of(temp_.path() / "answer");
  std::erase(answer, '\n');  // one document a line
  write_text(temp_.path() / "answer", "a warning of a library's\n" + answer + "\n");
  const Outcome outcome =
      plan("llama", "LlamaForCausalLM", "--start-from mistral --json --python " + python.string(),
           "2>/dev/null");
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  const nlohmann::json document = nlohmann::json::parse(outcome.text);
  EXPECT_EQ(document["compared"],
            "config.json, tensor headers and the sources of transformers 5.0");
  EXPECT_EQ(document["donors"][0]["slug"], "mistral");
  EXPECT_EQ(document["donors"][0]["deltas"][0]["where"], "modeling_y.py:12");
}

TEST_F(PlanCommandTest, APythonThatFailsIsSaid) {
  const fs::path python =
      fake_python("{\"event\": \"error\", \"message\": \"no torch after all\"}");
  const Outcome outcome = plan("llama", "LlamaForCausalLM", "--python " + python.string());
  EXPECT_EQ(outcome.status, 2);
  EXPECT_TRUE(has(outcome, "no torch after all")) << outcome.text;
  EXPECT_FALSE(fs::exists(port()));
}

// Each family left out: which architectures may come first, from config.json and headers alone.
TEST(RankFixturesTest, TheNearestDonorIsOfTheFamilysKind) {
  const std::map<std::string, std::set<std::string>> expected = {{"llama", {"mistral"}},
                                                                 {"smollm3", {"llama", "mistral"}},
                                                                 {"qwen3", {"llama", "mistral"}},
                                                                 {"glm4", {"phi3", "llama"}},
                                                                 {"deepseek_v3", {"deepseek_v2"}},
                                                                 {"deepseek_v2", {"deepseek_v3"}},
                                                                 {"exaone4", {"olmo2"}},
                                                                 {"olmo2", {"exaone4"}},
                                                                 {"cohere", {"cohere2"}},
                                                                 {"cohere2", {"cohere"}},
                                                                 {"gemma3", {"gemma2"}},
                                                                 {"gemma2", {"gemma3_text"}},
                                                                 {"mamba2", {"mamba"}},
                                                                 {"mamba", {"mamba2"}},
                                                                 {"granite", {"granitemoe"}},
                                                                 {"granitemoe", {"granite"}},
                                                                 {"olmoe", {"qwen3_moe"}},
                                                                 {"phi", {"stablelm"}}};
  const Registry registry;
  size_t n = 0;
  for (const auto& [name, slugs] : expected) {
    if (!fs::exists(fixture(name) / "config.json")) continue;
    const port::ModelFacts facts = port::ModelFacts::open(fixture(name).string());
    const std::vector<port::DonorReport> donors = port::rank_donors(facts, registry);
    EXPECT_TRUE(slugs.contains(donors.front().slug)) << name << ": " << donors.front().slug;
    ++n;
  }
  if (n < expected.size()) {
    GTEST_SKIP() << "there are only " << n << " of the fixtures (" << shared_fixtures() << ")";
  }
}

}  // namespace
}  // namespace lockstep::test
