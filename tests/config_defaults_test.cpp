// A published config may leave out what equals the reference's default, and may be of either
// generation of keys: the graph and its numbers stay the same.
#include <algorithm>
#include <cmath>
#include <map>

#include "support.h"

namespace lockstep::test {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

const std::vector<int32_t> kPrompt = {591, 283, 298, 682, 273};

// LlamaConfig's defaults in transformers 5.
const json kLlamaDefaults = {
    {"vocab_size", 32000},
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
};

// Gemma3TextConfig's.
const json kGemma3Defaults = {
    {"vocab_size", 262208},
    {"hidden_size", 2304},
    {"intermediate_size", 9216},
    {"num_hidden_layers", 26},
    {"num_attention_heads", 8},
    {"num_key_value_heads", 4},
    {"head_dim", 256},
    {"hidden_activation", "gelu_pytorch_tanh"},
    {"max_position_embeddings", 131072},
    {"initializer_range", 0.02},
    {"rms_norm_eps", 1e-6},
    {"use_cache", true},
    {"pad_token_id", 0},
    {"eos_token_id", 1},
    {"bos_token_id", 2},
    {"tie_word_embeddings", true},
    {"attention_bias", false},
    {"attention_dropout", 0.0},
    {"query_pre_attn_scalar", 256},
    {"sliding_window", 4096},
    {"layer_types", nullptr},
    {"final_logit_softcapping", nullptr},
    {"attn_logit_softcapping", nullptr},
    {"use_bidirectional_attention", false},
    {"_sliding_window_pattern", 6},
    {"rope_parameters",
     {{"full_attention", {{"rope_theta", 1e6}, {"rope_type", "default"}}},
      {"sliding_attention", {{"rope_theta", 1e4}, {"rope_type", "default"}}}}},
};

// GPT2Config's.
const json kGpt2Defaults = {
    {"vocab_size", 50257},
    {"n_positions", 1024},
    {"n_embd", 768},
    {"n_layer", 12},
    {"n_head", 12},
    {"n_inner", nullptr},
    {"activation_function", "gelu_new"},
    {"resid_pdrop", 0.1},
    {"embd_pdrop", 0.1},
    {"attn_pdrop", 0.1},
    {"layer_norm_epsilon", 1e-5},
    {"initializer_range", 0.02},
    {"summary_type", "cls_index"},
    {"summary_use_proj", true},
    {"summary_activation", nullptr},
    {"summary_proj_to_labels", true},
    {"summary_first_dropout", 0.1},
    {"scale_attn_weights", true},
    {"use_cache", true},
    {"bos_token_id", 50256},
    {"eos_token_id", 50256},
    {"pad_token_id", nullptr},
    {"scale_attn_by_inverse_layer_idx", false},
    {"reorder_and_upcast_attn", false},
    {"add_cross_attention", false},
    {"tie_word_embeddings", true},
};

// Mamba2Config's.
const json kMamba2Defaults = {
    {"num_heads", 128},
    {"head_dim", 64},
    {"vocab_size", 32768},
    {"hidden_size", 4096},
    {"state_size", 128},
    {"num_hidden_layers", 64},
    {"layer_norm_epsilon", 1e-5},
    {"pad_token_id", 1},
    {"bos_token_id", 0},
    {"eos_token_id", 2},
    {"expand", 2},
    {"conv_kernel", 4},
    {"n_groups", 8},
    {"use_bias", false},
    {"use_conv_bias", true},
    {"hidden_act", "silu"},
    {"initializer_range", 0.1},
    {"residual_in_fp32", true},
    {"time_step_rank", "auto"},
    {"time_step_min", 0.001},
    {"time_step_max", 0.1},
    {"time_step_floor", 1e-4},
    {"time_step_limit", json::array({0.0, {{"__float__", "Infinity"}}})},
    {"rescale_prenorm_residual", false},
    {"use_cache", true},
    {"rms_norm", true},
    {"chunk_size", 256},
    {"tie_word_embeddings", false},
};

// MixtralConfig's.
const json kMixtralDefaults = {
    {"vocab_size", 32000},
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
    {"rope_theta", 1000000.0},
};

// DeepseekV3Config's.
const json kDeepseekV3Defaults = {
    {"vocab_size", 129280},
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
    {"rope_theta", 10000.0},
};

// A fixture and the defaults of its config class.
struct Family {
  std::string fixture;
  json defaults;
};

// The committed fixtures, and the shared ones that are there with a file in config_defaults/.
std::vector<Family> families() {
  std::vector<Family> all = {
      {"storyteller", kLlamaDefaults}, {"llama", kLlamaDefaults},
      {"llama_rope3", kLlamaDefaults}, {"gemma3", kGemma3Defaults},
      {"gpt2", kGpt2Defaults},         {"mamba2", kMamba2Defaults},
      {"mixtral", kMixtralDefaults},   {"deepseek_v3", kDeepseekV3Defaults},
  };
  for (const auto& entry : fs::directory_iterator(source_dir() / "tests" / "config_defaults")) {
    const std::string name = entry.path().stem().string();
    if (fs::exists(fixture(name))) all.push_back({name, read_json(entry.path())});
  }
  std::sort(all.begin() + 8, all.end(),
            [](const Family& a, const Family& b) { return a.fixture < b.fixture; });
  return all;
}

std::vector<double> logits_with(const std::string& name, const std::string& config) {
  TempDir temp;
  fs::copy_file(fixture(name) / "model.safetensors", temp.path() / "model.safetensors");
  write_text(temp.path() / "config.json", config);
  Pipeline pipeline = open_pipeline(temp.path().string(), DType::kFloat32);
  return all_logits(pipeline, kPrompt);
}
std::vector<double> logits_with(const std::string& name, const json& config) {
  return logits_with(name, config.dump());
}

class ConfigDefaultsTest : public ::testing::TestWithParam<Family> {
 protected:
  // The keys that say what an absent key says.
  std::vector<std::string> default_keys() const {
    std::vector<std::string> keys;
    for (const auto& [key, value] : GetParam().defaults.items()) {
      if (config_.contains(key) && config_[key] == value) keys.push_back(key);
    }
    // head_dim defaults to hidden_size / num_attention_heads where the class states no number.
    if (config_.contains("head_dim") && !GetParam().defaults.contains("head_dim") &&
        config_["head_dim"] ==
            config_["hidden_size"].get<int>() / config_["num_attention_heads"].get<int>()) {
      keys.push_back("head_dim");
    }
    // The default theta and type, where there is one for all layers and the table does not say.
    if (!GetParam().defaults.contains("rope_parameters") && config_.contains("rope_parameters") &&
        config_["rope_parameters"].value("rope_theta", 0.0) == 10000.0) {
      keys.push_back("rope_parameters");
    }
    return keys;
  }
  std::string name_ = GetParam().fixture;
  json config_ = read_json(fixture(name_) / "config.json");
  std::vector<double> expected_ = logits_with(name_, config_);
};

TEST_P(ConfigDefaultsTest, DefaultValuedKeysCanBeLeftOut) {
  json stripped = config_;
  for (const std::string& key : default_keys()) {
    json without = config_;
    without.erase(key);
    EXPECT_EQ(logits_with(name_, without), expected_) << key;
    stripped.erase(key);
  }
  EXPECT_GE(default_keys().size(), 5u);
  EXPECT_EQ(logits_with(name_, stripped), expected_);
}

// Where null is no default, but none of the thing.
bool null_says_none(const std::string& key) { return key.ends_with("_logit_softcapping"); }

TEST_P(ConfigDefaultsTest, NullIsAbsent) {
  json config = config_;
  for (const std::string& key : default_keys()) {
    if (!null_says_none(key)) config[key] = nullptr;
  }
  EXPECT_EQ(logits_with(name_, config), expected_);
}

TEST_P(ConfigDefaultsTest, BothGenerationsOfKeysAreRead) {
  json other = config_;
  if (config_.contains("rope_parameters") &&
      config_["rope_parameters"].contains("full_attention")) {
    other["rope_theta"] = config_["rope_parameters"]["full_attention"]["rope_theta"];
    other["rope_local_base_freq"] = config_["rope_parameters"]["sliding_attention"]["rope_theta"];
    other.erase("rope_parameters");
  } else if (config_.contains("rope_parameters")) {
    json scaling = config_["rope_parameters"];
    other["rope_theta"] = scaling["rope_theta"];
    scaling.erase("rope_theta");
    if (scaling["rope_type"] != "default") other["rope_scaling"] = scaling;
    other.erase("rope_parameters");
  } else if (config_.contains("rotary_pct")) {
    other["rope_parameters"] = {{"rope_theta", config_["rotary_emb_base"]},
                                {"partial_rotary_factor", config_["rotary_pct"]},
                                {"rope_type", "default"}};
    other.erase("rotary_emb_base");
    other.erase("rotary_pct");
  } else if (config_.contains("rope_scaling")) {
    json parameters = config_["rope_scaling"];
    parameters["rope_theta"] = config_["rope_theta"];
    other["rope_parameters"] = parameters;
    other.erase("rope_theta");
    other.erase("rope_scaling");
  }
  const char* dtype = config_.contains("dtype") ? "dtype" : "torch_dtype";
  other[dtype[0] == 'd' ? "torch_dtype" : "dtype"] = config_[dtype];
  other.erase(dtype);
  EXPECT_EQ(logits_with(name_, other), expected_);
}

TEST(Gemma3ConfigTest, LayerTypesFollowFromThePatternOfOlderConfigs) {
  json config = read_json(fixture("gemma3") / "config.json");
  const std::vector<double> expected = logits_with("gemma3", config);
  config.erase("layer_types");
  EXPECT_NE(logits_with("gemma3", config), expected) << "one global layer in six";
  config["sliding_window_pattern"] = 3;
  EXPECT_EQ(logits_with("gemma3", config), expected);
}

TEST(Gemma3ConfigTest, FrequenciesOfTheGlobalLayersAreDividedAndNothingElse) {
  TempDir temp;
  fs::copy_file(fixture("gemma3") / "model.safetensors", temp.path() / "model.safetensors");
  json config = read_json(fixture("gemma3") / "config.json");
  config["rope_parameters"]["full_attention"] = {
      {"rope_theta", 5e5}, {"rope_type", "linear"}, {"factor", 3.0}};
  write_text(temp.path() / "config.json", config.dump());
  const Model model = Model::open(temp.path().string(), Registry());
  std::vector<std::vector<double>> found;
  for (const Node& node : model.trace.graph.nodes) {
    if (node.op == nullptr || node.op->name != "rotary_embedding") continue;
    const auto frequencies = node.attrs.get_floats("inv_freq");
    found.emplace_back(frequencies.begin(), frequencies.end());
  }
  ASSERT_EQ(found.size(), 2u);
  for (size_t i = 0; i < 16; ++i) {
    const double exponent = static_cast<double>(i) / 16;
    EXPECT_NEAR(found[0][i] * std::pow(1e4, exponent), 1, 3e-7);
    EXPECT_NEAR(found[1][i] * std::pow(5e5, exponent), 1.0 / 3, 1e-7);
  }
}

// gemma-3-4b states no rope_local_base_freq.
TEST(Gemma3ConfigTest, ScalingIsForTheGlobalLayersAlone) {
  json config = read_json(fixture("gemma3") / "config.json");
  const std::vector<double> unscaled = logits_with("gemma3", config);
  config["rope_parameters"]["full_attention"] = {
      {"rope_theta", 1e6}, {"rope_type", "linear"}, {"factor", 8.0}};
  const std::vector<double> expected = logits_with("gemma3", config);
  EXPECT_NE(expected, unscaled);
  config.erase("rope_parameters");
  config["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 8.0}};
  EXPECT_EQ(logits_with("gemma3", config), expected);
  config["rope_theta"] = 1e6;
  config["rope_local_base_freq"] = 1e4;
  EXPECT_EQ(logits_with("gemma3", config), expected);
}

// As the reference's config class: it warns of the keys and computes with its defaults.
TEST(Gemma3ConfigTest, OneNewerObjectForAllLayersIsNobodys) {
  json config = read_json(fixture("gemma3") / "config.json");
  const std::vector<double> expected = logits_with("gemma3", config);
  config["rope_parameters"] = {{"rope_theta", 5e5}, {"rope_type", "default"}};
  EXPECT_EQ(logits_with("gemma3", config), expected);
  config.erase("rope_parameters");
  config["rope_theta"] = 5e5;
  EXPECT_NE(logits_with("gemma3", config), expected);
}

std::string error_with(const std::string& name, const char* key, const json& value) {
  json config = read_json(fixture(name) / "config.json");
  config[key] = value;
  try {
    logits_with(name, config);
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

void expect_text(const std::string& message, const std::string& text) {
  EXPECT_NE(message.find(text), std::string::npos) << message;
}

// What the config class allows and the ports do not compute is refused by name.
TEST(ConfigRefusalTest, KeysThatWouldChangeTheComputation) {
  expect_text(error_with("gemma3", "final_logit_softcapping", 30.0),
              "final_logit_softcapping: expected null, found 30");
  expect_text(error_with("gemma3", "attn_logit_softcapping", 50.0),
              "attn_logit_softcapping: expected null, found 50");
  expect_text(error_with("gemma3", "use_bidirectional_attention", true),
              "use_bidirectional_attention: expected false, found true");
  expect_text(error_with("gemma3", "layer_types", json::array({"full_attention"})),
              "layer_types: expected num_hidden_layers 6 entries, found 1");
  expect_text(error_with("gemma3", "layer_types", json::array({"chunked_attention"})),
              "layer_types: expected sliding_attention or full_attention, found chunked_attention");
  expect_text(error_with("gemma3", "layer_types", "full_attention"),
              "layer_types: expected an array, found the string");
  expect_text(error_with("gemma3", "layer_types", json::array({7})),
              "layer_types.0: expected a string, found 7");
  expect_text(error_with("gpt2", "add_cross_attention", true),
              "add_cross_attention: expected false, found true");
  expect_text(error_with("gpt2", "n_head", 5), "n_head: expected a divisor of n_embd 64, found 5");
}

TEST(ConfigRefusalTest, KeysOfTheSharedFixtures) {
  if (!fs::exists(shared_fixtures())) GTEST_SKIP() << "no " << shared_fixtures();
  expect_text(error_with("gpt_oss", "quantization_config", {{"quant_method", "mxfp4"}}),
              "quantization_config.quant_method: expected weights as they are, found mxfp4");
  expect_text(error_with("gpt_oss", "sliding_window", nullptr),
              "sliding_window: expected the window of layers of type sliding_attention");
  expect_text(error_with("qwen2", "layer_types", json::array({"chunked_attention"})),
              "layer_types: expected sliding_attention or full_attention, found chunked_attention");
  expect_text(error_with("gemma2", "use_bidirectional_attention", true),
              "use_bidirectional_attention: expected false, found true");
  expect_text(error_with("smollm3", "no_rope_layers", json::array({1, 0})),
              "no_rope_layers: expected num_hidden_layers 4 entries, found 2");
  expect_text(error_with("stablelm", "partial_rotary_factor", 1.5),
              "partial_rotary_factor: expected at most 1, found 1.5");
  expect_text(error_with("falcon", "num_attention_heads", 5),
              "num_attention_heads: expected a divisor of hidden_size 64, found 5");
  expect_text(error_with("falcon", "num_ln_in_parallel_attn", 2),
              "num_ln_in_parallel_attn: expected null or 1 without new_decoder_architecture");
  expect_text(error_with("bloom", "n_head", 5),
              "n_head: expected a divisor of hidden_size 64, found 5");
}

TEST(ConfigUseTest, LimitsMayBeInfiniteInAnySpelling) {
  json config = read_json(fixture("mamba2") / "config.json");
  const std::vector<double> expected = logits_with("mamba2", config);
  config["time_step_limit"] = "LIMIT";
  const auto with_limit = [&](const std::string& limit) {
    std::string text = config.dump();
    return logits_with("mamba2", text.replace(text.find("\"LIMIT\""), 7, limit));
  };
  EXPECT_EQ(with_limit("[0, Infinity]"), expected);
  EXPECT_EQ(with_limit("[0.0, {\"__float__\": \"Infinity\"}]"), expected);
  EXPECT_EQ(with_limit("[{\"__float__\": \"-Infinity\"}, 1e30]"), expected);
  EXPECT_NE(with_limit("[0.0, 0.01]"), expected);
  EXPECT_THROW(with_limit("[0.0, NaN]"), Error);
  EXPECT_THROW(with_limit("[0.5, 0.1]"), Error);
  EXPECT_THROW(with_limit("[0.5, \"much\"]"), Error);
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

INSTANTIATE_TEST_SUITE_P(Fixtures, ConfigDefaultsTest, ::testing::ValuesIn(families()),
                         [](const auto& family) { return family.param.fixture; });

}  // namespace
}  // namespace lockstep::test
