// Bounds of every parameter, and a model's defaults.
#include "runtime/sampling_params.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <functional>

#include "lockstep/error.h"

namespace lockstep {
namespace {

std::string refused(const std::function<void(SamplingParams&)>& change, int64_t max_logprobs = 20) {
  SamplingParams params;
  change(params);
  const auto problem = check(params, 100, max_logprobs);
  return problem ? problem->parameter : "";
}

TEST(SamplingParams, EachBoundIsNamed) {
  using P = SamplingParams;
  const std::pair<const char*, std::function<void(P&)>> cases[] = {
      {"", [](P&) {}},
      {"temperature", [](P& p) { p.temperature = -0.1; }},
      {"temperature", [](P& p) { p.temperature = NAN; }},
      {"temperature", [](P& p) { p.temperature = INFINITY; }},
      {"top_p", [](P& p) { p.top_p = 0; }},
      {"top_p", [](P& p) { p.top_p = 1.01; }},
      {"top_p", [](P& p) { p.top_p = NAN; }},
      {"", [](P& p) { p.top_k = -1; }},
      {"top_k", [](P& p) { p.top_k = -2; }},
      {"min_p", [](P& p) { p.min_p = 1.1; }},
      {"repetition_penalty", [](P& p) { p.repetition_penalty = 0; }},
      {"presence_penalty", [](P& p) { p.presence_penalty = 2.1; }},
      {"frequency_penalty", [](P& p) { p.frequency_penalty = -2.1; }},
      {"logit_bias",
       [](P& p) {
         p.logit_bias = {{100, 1.0f}};
       }},
      {"logit_bias",
       [](P& p) {
         p.logit_bias = {{1, 101.0f}};
       }},
      {"logit_bias",
       [](P& p) {
         p.logit_bias = {{1, NAN}};
       }},
      {"bad_words", [](P& p) { p.bad_words = {{}}; }},
      {"bad_words",
       [](P& p) {
         p.bad_words = {{1, -1}};
       }},
      {"allowed_token_ids", [](P& p) { p.allowed_token_ids.emplace(); }},
      {"allowed_token_ids", [](P& p) { p.allowed_token_ids = {100}; }},
      {"stop_token_ids", [](P& p) { p.stop_token_ids = {-5}; }},
      {"", [](P& p) { p.max_tokens = 0; }},
      {"max_tokens", [](P& p) { p.max_tokens = -1; }},
      {"min_tokens", [](P& p) { p.min_tokens = 17; }},
      {"logprobs", [](P& p) { p.logprobs = 21; }},
      {"logprobs", [](P& p) { p.logprobs = -1; }},
      {"logprobs", [](P& p) { p.logprobs = -2; }},
      {"prompt_logprobs", [](P& p) { p.prompt_logprobs = 21; }},
  };
  for (const auto& [parameter, change] : cases) EXPECT_EQ(refused(change), parameter);
  EXPECT_EQ(refused([](P& p) { p.logprobs = -1; }, -1), "");
  EXPECT_EQ(refused([](P& p) { p.logprobs = 90; }, 100), "");
}

class DefaultsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "lockstep-XXXXXX").string();
    folder_ = mkdtemp(pattern.data());
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  GenerationDefaults read(const std::string& generation, const std::string& config) {
    if (!generation.empty()) {
      std::ofstream(folder_ / "generation_config.json") << generation;
    }
    return read_generation_defaults(folder_, ConfigFile::parse(config, "config.json"));
  }
  std::filesystem::path folder_;
};

TEST_F(DefaultsTest, TheFileDecidesAndIsSaid) {
  const GenerationDefaults defaults =
      read(R"({"temperature": 0.6, "top_k": 20, "top_p": 0.95, "max_new_tokens": 2048,
               "repetition_penalty": 1.0, "min_p": null, "eos_token_id": [2, 7]})",
           R"({"eos_token_id": 3})");
  EXPECT_EQ(defaults.params.temperature, 0.6);
  EXPECT_EQ(defaults.params.top_k, 20);
  EXPECT_EQ(defaults.params.top_p, 0.95);
  EXPECT_EQ(defaults.params.repetition_penalty, 1.0);
  EXPECT_EQ(defaults.max_new_tokens, 2048);
  EXPECT_EQ(defaults.eos_token_ids, (std::vector<int32_t>{2, 7}));
  ASSERT_EQ(defaults.notices.size(), 4u);
  EXPECT_EQ(defaults.notices[0], "temperature 0.6 (generation_config.json)");
}

TEST_F(DefaultsTest, WithoutItConfigJsonKnowsTheEnd) {
  EXPECT_EQ(read("", R"({"eos_token_id": 3})").eos_token_ids, std::vector<int32_t>{3});
  EXPECT_TRUE(read("", "{}").eos_token_ids.empty());
  EXPECT_TRUE(read("", R"({"eos_token_id": null})").notices.empty());
}

TEST_F(DefaultsTest, NonsenseIsRefused) {
  for (const char* generation :
       {R"({"temperature": -1})", R"({"top_k": 1.5})", R"({"top_k": 1e300})", R"({"top_p": "a"})",
        R"({"eos_token_id": "x"})", R"({"eos_token_id": [1, 4294967296]})", R"({"top_p": 2})"}) {
    EXPECT_THROW(read(generation, "{}"), Error) << generation;
  }
}

}  // namespace
}  // namespace lockstep
