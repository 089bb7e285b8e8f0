// lockstep inspect and check-walls of a model on the Hub: small files and headers alone.
#include <nlohmann/json.hpp>

#include "../run_program.h"
#include "test_hub.h"

namespace lockstep::test {
namespace {

using nlohmann::json;

class HubPortTest : public HubTest {
 protected:
  Outcome run(const std::string& arguments) const {
    return run_shell("env -u HF_HUB_OFFLINE -u TRANSFORMERS_OFFLINE HOME=" + temp_.path().string() +
                     " HF_HUB_CACHE=" + settings_.cache.string() + " HF_ENDPOINT=" + hub_.url() +
                     " HF_TOKEN=" + kToken + " " + LOCKSTEP_BINARY_DIR "/bin/lockstep " +
                     arguments + " 2>/dev/null");
  }
  static std::vector<std::string> codes(const Outcome& outcome) {
    std::vector<std::string> found;
    const json report = json::parse(outcome.text);
    for (const json& finding : report["findings"]) {
      found.push_back(finding["level"].get<std::string>() + " " +
                      finding["code"].get<std::string>());
    }
    return found;
  }
};

TEST_F(HubPortTest, WeightsAreNotFetched) {
  const Outcome outcome = run("inspect --json org/tiny");
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  const json report = json::parse(outcome.text);
  EXPECT_EQ(report["hf_id"], "org/tiny");
  EXPECT_EQ(report["bytes"], 256000);
  EXPECT_EQ(report["card"]["exists"], true);
  EXPECT_FALSE(std::filesystem::exists(snapshot() / "model.safetensors"));
}

TEST_F(HubPortTest, WeightsOfAnotherFormatAreAWall) {
  hub_.models[kModel].files.erase("model.safetensors");
  const Outcome outcome = run("check-walls --json org/tiny");
  EXPECT_EQ(outcome.status, 2);
  // The tokenizer of this Hub is 5,000 letters.
  EXPECT_EQ(codes(outcome),
            (std::vector<std::string>{"block weights_format", "block tokenizer_class"}));
  EXPECT_NE(outcome.text.find("file pytorch_model.bin"), std::string::npos) << outcome.text;
}

TEST_F(HubPortTest, GatedModelIsSaidWithTheWayIn) {
  hub_.models[kModel].is_gated = true;
  for (const char* command : {"inspect", "check-walls"}) {
    const Outcome outcome = run(std::string(command) + " --json org/tiny");
    EXPECT_EQ(outcome.status, 2);
    const json error = json::parse(outcome.text)["error"];
    EXPECT_NE(error["message"].get<std::string>().find("org/tiny: gated"), std::string::npos);
    EXPECT_NE(error["hint"].get<std::string>().find("accept its terms"), std::string::npos);
  }
}

TEST_F(HubPortTest, PipelineWithoutConfigIsAWall) {
  hub_.models[kModel].files.erase("config.json");
  hub_.models[kModel].files["model_index.json"] = small_file("{\"_class_name\": \"Flux\"}");
  const Outcome outcome = run("check-walls --json org/tiny");
  EXPECT_EQ(outcome.status, 2);
  EXPECT_NE(outcome.text.find("\"diffusion\""), std::string::npos) << outcome.text;
}

}  // namespace
}  // namespace lockstep::test
