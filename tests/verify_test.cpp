// From a model to a verdict, by the commands a person types.
#include <nlohmann/json.hpp>

#include "run_program.h"
#include "support.h"

namespace lockstep::test {
namespace {

class VerifyTest : public ::testing::TestWithParam<const char*> {};

TEST_P(VerifyTest, FixturePassesAgainstItsGolden) {
  const std::string model = fixture(GetParam()).string();
  const Outcome outcome = run_lockstep(
      "verify '" + model + "' --reference '" + model + "/golden' --json", "2>/dev/null");
  ASSERT_EQ(outcome.status, 0) << outcome.text;
  const nlohmann::json document = nlohmann::json::parse(outcome.text);
  EXPECT_EQ(document["verdict"], "pass");
  EXPECT_GE(document["greedy"].size(), 10u);
  EXPECT_FALSE(document["not_covered"].empty());
}

TEST(VerifyReferenceTest, ExamplePassesAgainstItsShippedRecordingAndHasNoSource) {
  const std::string model = fixture("storyteller").string();
  const std::string arguments = " '" + model + "' --reference '" + model + "/reference'";
  const Outcome verified = run_lockstep("verify" + arguments);
  EXPECT_EQ(verified.status, 0) << verified.text;
  EXPECT_NE(verified.text.find("PASS: 6 runs"), std::string::npos) << verified.text;
  EXPECT_NE(verified.text.find("all 48 tokens are the reference's"), std::string::npos);
  const Outcome isolated = run_lockstep("isolate" + arguments);
  EXPECT_EQ(isolated.status, 0) << isolated.text;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, VerifyTest,
                         ::testing::Values("storyteller", "llama", "llama_rope3"),
                         [](const auto& model) { return std::string(model.param); });

// Llama with the rotation in the other style, as a port outside the tree.
TEST(PlantedFaultTest, DiffNamesTheRotatedQueriesOfLayerZeroAndToken0IsClean) {
  TempDir temp;
  std::filesystem::copy_file(source_dir() / "src/archs/llama/llama.cpp", temp.path() / "llama.cpp");
  std::ifstream original(source_dir() / "src/archs/llama/llama.h");
  std::string source(std::istreambuf_iterator<char>(original), {});
  for (const char* sound :
       {"apply_rotary_pos_emb(q, positions)", "apply_rotary_pos_emb(k, positions)"}) {
    const size_t at = source.find(sound);
    ASSERT_NE(at, std::string::npos);
    source.insert(at + std::string(sound).size() - 1, ", RopeStyle::kInterleaved");
  }
  write_text(temp.path() / "llama.h", source);
  const std::string folder = "'" + temp.path().string() + "'";
  const Outcome compiled =
      run_shell("c++ -std=c++20 -shared -fPIC -I'" + (source_dir() / "include").string() + "' -o " +
                folder + "/llama.so " + folder + "/llama.cpp 2>&1");
  ASSERT_EQ(compiled.status, 0) << compiled.text;

  const std::string dump = "dump '" + fixture("storyteller").string() +
                           "' --prompt-ids 591,283,298,682,273 --dtype float32 --output " + folder;
  ASSERT_EQ(run_lockstep(dump + "/sound").status, 0);
  ASSERT_EQ(run_lockstep(dump + "/faulty --custom-architectures " + folder).status, 0);
  const Outcome outcome =
      run_lockstep("diff " + folder + "/sound " + folder + "/faulty", "2>/dev/null");
  EXPECT_EQ(outcome.status, 1) << outcome.text;
  EXPECT_NE(outcome.text.find("DIVERGED"), std::string::npos) << outcome.text;
  const size_t q_rot = outcome.text.find("model.layers.0.self_attn/q_rot");
  ASSERT_NE(q_rot, std::string::npos) << outcome.text;
  EXPECT_NE(outcome.text.find("token 0 clean", q_rot), std::string::npos) << outcome.text;

  const Outcome verdict = run_lockstep(
      "verify '" + fixture("storyteller").string() + "' --reference '" +
      (fixture("storyteller") / "golden").string() + "' --custom-architectures " + folder);
  EXPECT_EQ(verdict.status, 1) << verdict.text;
  EXPECT_NE(verdict.text.find("model.layers.0.self_attn"), std::string::npos) << verdict.text;
}

TEST(PlantedFaultTest, PrefillChunksAndTokensOfOnePortDumpAlike) {
  TempDir temp;
  const std::string folder = "'" + temp.path().string() + "'";
  const std::string dump = "dump '" + fixture("llama").string() +
                           "' --prompt-ids 1,320,297,201,57,409,273,262,283,298 --dtype float32 ";
  ASSERT_EQ(run_lockstep(dump + "--output " + folder + "/once").status, 0);
  ASSERT_EQ(run_lockstep(dump + "--chunk 3 --output " + folder + "/chunks").status, 0);
  ASSERT_EQ(run_lockstep(dump + "--prefill 4 --output " + folder + "/tokens").status, 0);
  for (const char* other : {"/chunks", "/tokens"}) {
    const Outcome outcome = run_lockstep("diff " + folder + "/once " + folder + other);
    EXPECT_EQ(outcome.status, 0) << outcome.text;
  }
}

}  // namespace
}  // namespace lockstep::test
