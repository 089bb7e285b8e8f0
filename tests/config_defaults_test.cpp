// A published config may leave out what equals the reference's default, and may be of either
// generation of keys: the graph and its numbers stay the same.
#include <map>

#include "support.h"

namespace lockstep::test {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

const std::vector<int32_t> kPrompt = {591, 283, 298, 682, 273};

// The defaults of each family's config class in transformers 5, as far as a published config
// states them; rope_theta is the class's default_theta.
const std::map<std::string, json> kDefaults = {
    {"llama",
     {{"vocab_size", 32000},
      {"hidden_size", 4096},
      {"intermediate_size", 11008},
      {"num_hidden_layers", 32},
      {"num_attention_heads", 32},
      {"hidden_act", "silu"},
      {"max_position_embeddings", 2048},
      {"initializer_range", 0.02},
      {"rms_norm_eps", 1e-6},
      {"use_cache", true},
      {"bos_token_id", 1},
      {"eos_token_id", 2},
      {"pretraining_tp", 1},
      {"tie_word_embeddings", false},
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      {"mlp_bias", false},
      {"rope_theta", 10000.0}}},
    {"mixtral",
     {{"vocab_size", 32000},
      {"hidden_size", 4096},
      {"intermediate_size", 14336},
      {"num_hidden_layers", 32},
      {"num_attention_heads", 32},
      {"num_key_value_heads", 8},
      {"head_dim", nullptr},
      {"hidden_act", "silu"},
      {"max_position_embeddings", 131072},
      {"initializer_range", 0.02},
      {"rms_norm_eps", 1e-5},
      {"use_cache", true},
      {"bos_token_id", 1},
      {"eos_token_id", 2},
      {"tie_word_embeddings", false},
      {"sliding_window", nullptr},
      {"attention_dropout", 0.0},
      {"num_experts_per_tok", 2},
      {"num_local_experts", 8},
      {"output_router_logits", false},
      {"router_aux_loss_coef", 0.001},
      {"router_jitter_noise", 0.0},
      {"rope_theta", 1000000.0}}},
    {"deepseek_v3",
     {{"vocab_size", 129280},
      {"hidden_size", 7168},
      {"intermediate_size", 18432},
      {"moe_intermediate_size", 2048},
      {"num_hidden_layers", 61},
      {"num_attention_heads", 128},
      {"num_key_value_heads", 128},
      {"n_shared_experts", 1},
      {"n_routed_experts", 256},
      {"routed_scaling_factor", 2.5},
      {"kv_lora_rank", 512},
      {"q_lora_rank", 1536},
      {"qk_rope_head_dim", 64},
      {"v_head_dim", 128},
      {"qk_nope_head_dim", 128},
      {"n_group", 8},
      {"topk_group", 4},
      {"num_experts_per_tok", 8},
      {"first_k_dense_replace", 3},
      {"norm_topk_prob", true},
      {"hidden_act", "silu"},
      {"max_position_embeddings", 4096},
      {"initializer_range", 0.02},
      {"rms_norm_eps", 1e-6},
      {"use_cache", true},
      {"bos_token_id", 0},
      {"eos_token_id", 1},
      {"pretraining_tp", 1},
      {"tie_word_embeddings", false},
      {"rope_interleave", true},
      {"attention_bias", false},
      {"attention_dropout", 0.0},
      {"rope_theta", 10000.0}}},
};

std::vector<double> logits_with(const std::string& name, const json& config) {
  TempDir temp;
  fs::copy_file(fixture(name) / "model.safetensors", temp.path() / "model.safetensors");
  write_text(temp.path() / "config.json", config.dump());
  Pipeline pipeline = open_pipeline(temp.path().string(), DType::kFloat32);
  return all_logits(pipeline, kPrompt);
}

class ConfigDefaultsTest : public ::testing::TestWithParam<const char*> {};

TEST_P(ConfigDefaultsTest, DefaultValuedKeysCanBeLeftOut) {
  const json config = read_json(fixture(GetParam()) / "config.json");
  const std::vector<double> expected = logits_with(GetParam(), config);
  json stripped = config;
  size_t n = 0;
  const json& defaults = kDefaults.at(config["model_type"]);
  for (const auto& [key, value] : defaults.items()) {
    if (!config.contains(key) || config[key] != value) continue;
    json without = config;
    without.erase(key);
    EXPECT_EQ(logits_with(GetParam(), without), expected) << key;
    stripped.erase(key);
    ++n;
  }
  // head_dim defaults to hidden_size / num_attention_heads, key/value heads to all heads.
  if (config["head_dim"] ==
      config["hidden_size"].get<int>() / config["num_attention_heads"].get<int>()) {
    stripped.erase("head_dim");
    ++n;
  }
  // The default theta and type, in either generation.
  if (config.contains("rope_parameters") &&
      config["rope_parameters"]["rope_theta"] == defaults["rope_theta"]) {
    stripped.erase("rope_parameters");
    ++n;
  }
  EXPECT_GE(n, 5u);
  EXPECT_EQ(logits_with(GetParam(), stripped), expected);
}

TEST_P(ConfigDefaultsTest, NullIsAbsent) {
  json config = read_json(fixture(GetParam()) / "config.json");
  const std::vector<double> expected = logits_with(GetParam(), config);
  config["mlp_bias"] = nullptr;
  config["attention_bias"] = nullptr;
  EXPECT_EQ(logits_with(GetParam(), config), expected);
}

TEST_P(ConfigDefaultsTest, BothGenerationsOfKeysAreRead) {
  const json config = read_json(fixture(GetParam()) / "config.json");
  const std::vector<double> expected = logits_with(GetParam(), config);
  json other = config;
  if (config.contains("rope_parameters")) {
    json scaling = config["rope_parameters"];
    other["rope_theta"] = scaling["rope_theta"];
    scaling.erase("rope_theta");
    if (scaling["rope_type"] != "default") other["rope_scaling"] = scaling;
    other.erase("rope_parameters");
    other["torch_dtype"] = other["dtype"];
    other.erase("dtype");
  } else {
    json parameters = config["rope_scaling"];
    parameters["rope_theta"] = config["rope_theta"];
    other["rope_parameters"] = parameters;
    other.erase("rope_theta");
    other.erase("rope_scaling");
    other["dtype"] = other["torch_dtype"];
    other.erase("torch_dtype");
  }
  EXPECT_EQ(logits_with(GetParam(), other), expected);
}

TEST(ConfigUseTest, KeysNobodyReadsAreReported) {
  TempDir temp;
  fs::copy_file(fixture("llama") / "model.safetensors", temp.path() / "model.safetensors");
  json config = read_json(fixture("llama") / "config.json");
  config["use_flux_norm"] = true;
  config["rope_parameters"]["beta_drift"] = 3;
  write_text(temp.path() / "config.json", config.dump());
  const Model model = Model::open(temp.path().string(), Registry());
  std::string text;
  for (const std::string& line : model.notices()) text += line + "\n";
  EXPECT_NE(text.find("use_flux_norm"), std::string::npos) << text;
  EXPECT_NE(text.find("rope_parameters.beta_drift"), std::string::npos) << text;
  EXPECT_EQ(text.find("hidden_size"), std::string::npos) << text;
}

INSTANTIATE_TEST_SUITE_P(Fixtures, ConfigDefaultsTest,
                         ::testing::Values("storyteller", "llama", "llama_rope3", "mixtral",
                                           "deepseek_v3"),
                         [](const auto& model) { return std::string(model.param); });

}  // namespace
}  // namespace lockstep::test
