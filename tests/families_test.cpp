// What a family's keys and stored names may be, beside what its golden shows. Fixtures that are not
// committed lie beside the clone; without them the test of a family is skipped.
#include <functional>
#include <utility>

#include "support.h"

namespace lockstep::test {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

const std::vector<int32_t> kPrompt = {591, 283, 298, 682, 273};

#define SKIP_WITHOUT(name) \
  if (!fs::exists(fixture(name))) GTEST_SKIP() << fixture(name) << " is not there"

std::vector<double> logits_of(const fs::path& model) {
  Pipeline pipeline = open_pipeline(model.string(), DType::kFloat32);
  return all_logits(pipeline, kPrompt);
}

json config_of(const char* name) { return read_json(fixture(name) / "config.json"); }

std::vector<double> logits_with(const char* name, const json& config) {
  TempDir temp;
  fs::copy_file(fixture(name) / "model.safetensors", temp.path() / "model.safetensors");
  write_text(temp.path() / "config.json", config.dump());
  return logits_of(temp.path());
}

/// The message of the Error that opening the fixture gives with `key` set to `value`.
std::string error_with(const char* name, const char* key, const json& value) {
  json config = config_of(name);
  config[key] = value;
  try {
    logits_with(name, config);
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

/// Stored names of another generation: what each of `names` becomes.
struct Renaming {
  const char* fixture;
  const char* generation;
  std::vector<std::pair<std::string, std::string>> names;
};
const Renaming kRenamings[] = {
    {"gpt_neox", "newer", {{"embed_out.", "lm_head."}}},
    {"granitemoe",
     "newer",
     {{".input_linear.weight", ".experts.gate_up_proj"},
      {".output_linear.weight", ".experts.down_proj"},
      {".router.layer.", ".router."}}},
    {"mamba", "older", {{"backbone.embeddings.", "backbone.embedding."}}},
    {"opt", "older", {{"model.decoder.", "decoder."}}},
};

class RenamingTest : public ::testing::TestWithParam<Renaming> {};

TEST_P(RenamingTest, GivesTheSameBits) {
  SKIP_WITHOUT(GetParam().fixture);
  const fs::path original = fixture(GetParam().fixture);
  TempDir temp;
  fs::copy_file(original / "config.json", temp.path() / "config.json");
  const SafetensorsFile file = SafetensorsFile::open(original / "model.safetensors");
  size_t n_renamed = 0;
  const auto renamed = [&](std::string name) {
    for (const auto& [from, to] : GetParam().names) {
      const size_t at = name.find(from);
      if (at == std::string::npos) continue;
      name.replace(at, from.size(), to);
      ++n_renamed;
    }
    return name;
  };
  SafetensorsWriter writer(temp.path() / "model.safetensors");
  for (const TensorEntry& entry : file.tensors()) {
    writer.declare(renamed(entry.name), entry.dtype, entry.shape);
  }
  writer.begin();
  for (const TensorEntry& entry : file.tensors()) {
    const View view = file.view(entry);
    writer.write(renamed(entry.name), 0, {static_cast<const std::byte*>(view.data), view.bytes()});
  }
  writer.commit();
  EXPECT_GE(n_renamed, 2 * GetParam().names.size());
  EXPECT_EQ(logits_of(temp.path()), logits_of(original));
}

INSTANTIATE_TEST_SUITE_P(Families, RenamingTest, ::testing::ValuesIn(kRenamings),
                         [](const auto& renaming) {
                           return std::string(renaming.param.fixture) + "_" +
                                  renaming.param.generation;
                         });

/// A key that the port does not compute or that cannot be, and what the error says.
struct Refusal {
  const char* fixture;
  const char* key;
  json value;
  const char* message;
};
const Refusal kRefusals[] = {
    {"deepseek_v2", "topk_method", "noaux_tc",
     "topk_method: expected greedy or group_limited_greedy, found noaux_tc"},
    {"deepseek_v2", "num_key_value_heads", 2,
     "num_key_value_heads: expected 4 from the other keys, found 2"},
    {"gpt_neox", "num_attention_heads", 5,
     "num_attention_heads: expected a divisor of hidden_size 64, found 5"},
    {"lfm2", "layer_types", json::array({"conv"}),
     "layer_types: expected num_hidden_layers 4 entries, found 1"},
    {"lfm2", "layer_types", json::array({"mamba"}),
     "layer_types: expected conv or full_attention, found mamba"},
    {"mamba", "time_step_rank", "most", "time_step_rank: expected a number or auto, found most"},
    {"mamba", "intermediate_size", 96,
     "intermediate_size: expected 128 from the other keys, found 96"},
    {"olmoe", "clip_qkv", 8.0, "clip_qkv: expected null, found 8"},
    {"opt", "layer_norm_elementwise_affine", false,
     "layer_norm_elementwise_affine: expected true, found false"},
    {"opt", "num_attention_heads", 5,
     "num_attention_heads: expected a divisor of hidden_size 64, found 5"},
    {"qwen3_next", "layer_types", json::array({"sliding_attention"}),
     "layer_types: expected linear_attention or full_attention, found sliding_attention"},
    {"qwen3_next", "linear_num_value_heads", 5,
     "linear_num_value_heads: expected a multiple of 2, found 5"},
};

TEST(FamilyConfigTest, WhatCannotBeComputedIsRefusedByName) {
  for (const Refusal& refusal : kRefusals) {
    if (!fs::exists(fixture(refusal.fixture))) continue;
    const std::string found = error_with(refusal.fixture, refusal.key, refusal.value);
    EXPECT_NE(found.find(refusal.message), std::string::npos) << refusal.fixture << ": " << found;
  }
}

TEST(FamilyConfigTest, LayersOfLfm2AreNamedOrNumbered) {
  SKIP_WITHOUT("lfm2");
  json config = config_of("lfm2");
  const std::vector<double> expected = logits_with("lfm2", config);
  config.erase("layer_types");
  EXPECT_THROW(logits_with("lfm2", config), Error) << "all layers attend";
  config["full_attn_idxs"] = {1, 3};
  EXPECT_EQ(logits_with("lfm2", config), expected);
}

// 2 / 3 of 240 is 160, a multiple of 32; block_ff_dim goes before intermediate_size.
TEST(FamilyConfigTest, TheFeedForwardWidthOfLfm2IsAdjusted) {
  SKIP_WITHOUT("lfm2");
  json config = config_of("lfm2");
  const std::vector<double> expected = logits_with("lfm2", config);
  config["intermediate_size"] = 1;
  config["block_ff_dim"] = 240;
  config["block_auto_adjust_ff_dim"] = true;
  config["block_multiple_of"] = 32;
  EXPECT_EQ(logits_with("lfm2", config), expected);
  config["block_ff_dim"] = 200;  // 133, rounded up
  EXPECT_EQ(logits_with("lfm2", config), expected);
  config["block_ffn_dim_multiplier"] = 2.0;
  EXPECT_THROW(logits_with("lfm2", config), Error);
}

TEST(FamilyConfigTest, LayersOfQwen3NextFollowFromAnInterval) {
  SKIP_WITHOUT("qwen3_next");
  json config = config_of("qwen3_next");
  const std::vector<double> expected = logits_with("qwen3_next", config);
  config.erase("layer_types");
  EXPECT_THROW(logits_with("qwen3_next", config), Error) << "one attention layer in four";
  config["full_attention_interval"] = 2;
  EXPECT_EQ(logits_with("qwen3_next", config), expected);
}

// Where all groups are chosen there is no limit.
TEST(FamilyConfigTest, ExpertsOfDeepseekV2AreLimitedToTheBestGroups) {
  SKIP_WITHOUT("deepseek_v2");
  json config = config_of("deepseek_v2");
  const std::vector<double> greedy = logits_with("deepseek_v2", config);
  config["topk_method"] = "group_limited_greedy";
  config["n_group"] = 4;
  config["topk_group"] = 4;
  EXPECT_EQ(logits_with("deepseek_v2", config), greedy);
  config["topk_group"] = 1;
  EXPECT_NE(logits_with("deepseek_v2", config), greedy);
  config.erase("n_group");
  EXPECT_THROW(logits_with("deepseek_v2", config), Error);
}

// The windows of Qwen: none without the flag, in every layer with it.
TEST(FamilyConfigTest, AWindowIsUsedWhereTheFlagSaysSo) {
  SKIP_WITHOUT("qwen3_moe");
  json config = config_of("qwen3_moe");
  const std::vector<double> expected = logits_with("qwen3_moe", config);
  config["sliding_window"] = 2;
  EXPECT_EQ(logits_with("qwen3_moe", config), expected);
  config["use_sliding_window"] = true;
  EXPECT_NE(logits_with("qwen3_moe", config), expected);
  config["sliding_window"] = nullptr;
  EXPECT_EQ(logits_with("qwen3_moe", config), expected);
}

}  // namespace
}  // namespace lockstep::test
