// explain as a person types it, on a port outside the tree with a fault in its source.
#include <nlohmann/json.hpp>

#include "../run_program.h"
#include "../support.h"

namespace lockstep::test {
namespace {

// Llama, rotated in the other style: a line of llama.h.
TEST(ExplainCommandTest, NamesCauseChangeAndLineOfAPortsFault) {
  TempDir temp;
  std::filesystem::copy_file(source_dir() / "src/archs/llama/llama.cpp", temp.path() / "llama.cpp");
  std::ifstream original(source_dir() / "src/archs/llama/llama.h");
  std::string source(std::istreambuf_iterator<char>(original), {});
  const std::string sound = "apply_rotary_pos_emb(q, positions)";
  const size_t at = source.find(sound);
  ASSERT_NE(at, std::string::npos);
  source.insert(at + sound.size() - 1, ", RopeStyle::kInterleaved");
  write_text(temp.path() / "llama.h", source);
  const auto line = 1 + std::count(source.begin(), source.begin() + static_cast<long>(at), '\n');
  const std::string folder = "'" + temp.path().string() + "'";
  const Outcome compiled =
      run_shell("c++ -std=c++20 -shared -fPIC -I'" + (source_dir() / "include").string() + "' -o " +
                folder + "/llama.so " + folder + "/llama.cpp 2>&1");
  ASSERT_EQ(compiled.status, 0) << compiled.text;

  const std::string arguments = "explain '" + fixture("storyteller").string() + "' --reference '" +
                                (fixture("storyteller") / "golden").string() +
                                "' --dtype float32 --custom-architectures " + folder;
  const Outcome outcome = run_lockstep(arguments + " --json", "2>/dev/null");
  ASSERT_EQ(outcome.status, 1) << outcome.text;
  const nlohmann::json document = nlohmann::json::parse(outcome.text);
  EXPECT_EQ(document["verdict"], "diverged");
  EXPECT_TRUE(document["covered"]["complete"].get<bool>());
  const nlohmann::json& fault = document["findings"][0];
  EXPECT_EQ(fault["verdict"], "confirmed") << fault.dump(1);
  EXPECT_EQ(fault["causes"][0]["row"], 8) << fault.dump(1);
  EXPECT_EQ(fault["layers"].size(), 6u) << fault["layers"].dump();
  const std::string place = fault["source"];
  EXPECT_NE(place.find("llama.h:"), std::string::npos) << place << ", the fault is in " << line;
}

// The layer's forward() is inherited: the line is the SDK's, in no other architecture's file.
TEST(ExplainCommandTest, TheLineOfAnInheritedCall) {
  TempDir temp;
  const std::filesystem::path model = temp.path() / "model";
  std::filesystem::copy(fixture("storyteller"), model);
  nlohmann::json config = nlohmann::json::parse(std::ifstream(model / "config.json"));
  config["rms_norm_eps"] = 1e-2;
  write_text(model / "config.json", config.dump());
  const Outcome outcome =
      run_lockstep("explain '" + model.string() + "' --reference '" +
                       (fixture("storyteller") / "golden").string() + "' --dtype float32 --json",
                   "2>/dev/null");
  ASSERT_EQ(outcome.status, 1) << outcome.text;
  for (const nlohmann::json& fault : nlohmann::json::parse(outcome.text)["findings"]) {
    const std::string place = fault["source"];
    EXPECT_TRUE(place.find("nn/decoder.h:") != std::string::npos ||
                place.find("archs/llama.h:") != std::string::npos)
        << place;
  }
}

TEST(ExplainCommandTest, SoundPortHasNothingToExplain) {
  const std::string model = fixture("storyteller").string();
  const Outcome outcome =
      run_lockstep("explain '" + model + "' --reference '" + model + "/golden'", "2>/dev/null");
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_NE(outcome.text.find("NOTHING WRONG"), std::string::npos) << outcome.text;
  EXPECT_NE(outcome.text.find("next: lockstep verify"), std::string::npos) << outcome.text;
}

}  // namespace
}  // namespace lockstep::test
