// A published config may leave out what equals the reference's default, and may be of either
// generation of keys: the graph and its numbers stay the same.
#include <map>

#include "support.h"

namespace lockstep::test {
namespace {
namespace fs = std::filesystem;
using nlohmann::json;

const std::vector<int32_t> kPrompt = {591, 283, 298, 682, 273};

// The defaults of the config classes in transformers 5, by model_type.
const std::map<std::string, json> kDefaults = {
    {"llama",
     {
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
     }},
    {"mamba2",
     {
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
     }},
};

const json& defaults_of(const json& config) {
  return kDefaults.at(config["model_type"].get<std::string>());
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

class ConfigDefaultsTest : public ::testing::TestWithParam<const char*> {};

TEST_P(ConfigDefaultsTest, DefaultValuedKeysCanBeLeftOut) {
  const json config = read_json(fixture(GetParam()) / "config.json");
  const std::vector<double> expected = logits_with(GetParam(), config);
  json stripped = config;
  size_t n = 0;
  for (const auto& [key, value] : defaults_of(config).items()) {
    if (!config.contains(key) || config[key] != value) continue;
    json without = config;
    without.erase(key);
    EXPECT_EQ(logits_with(GetParam(), without), expected) << key;
    stripped.erase(key);
    ++n;
  }
  // head_dim defaults to hidden_size / num_attention_heads, key/value heads to all heads.
  if (config.contains("num_attention_heads") &&
      config["head_dim"] ==
          config["hidden_size"].get<int>() / config["num_attention_heads"].get<int>()) {
    stripped.erase("head_dim");
    ++n;
  }
  // The default theta and type, in either generation.
  if (config.contains("rope_parameters") && config["rope_parameters"]["rope_theta"] == 10000.0) {
    stripped.erase("rope_parameters");
    ++n;
  }
  EXPECT_GE(n, 5u);
  EXPECT_EQ(logits_with(GetParam(), stripped), expected);
}

TEST_P(ConfigDefaultsTest, NullIsAbsent) {
  json config = read_json(fixture(GetParam()) / "config.json");
  const std::vector<double> expected = logits_with(GetParam(), config);
  for (const auto& [key, value] : defaults_of(config).items()) {
    if (!config.contains(key) || config[key] == value) config[key] = nullptr;
  }
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
  } else if (config.contains("rope_scaling")) {
    json parameters = config["rope_scaling"];
    parameters["rope_theta"] = config["rope_theta"];
    other["rope_parameters"] = parameters;
    other.erase("rope_theta");
    other.erase("rope_scaling");
    other["dtype"] = other["torch_dtype"];
    other.erase("torch_dtype");
  } else {
    other["torch_dtype"] = other["dtype"];
    other.erase("dtype");
  }
  EXPECT_EQ(logits_with(GetParam(), other), expected);
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

INSTANTIATE_TEST_SUITE_P(Fixtures, ConfigDefaultsTest, ::testing::ValuesIn(kFixtures),
                         [](const auto& model) { return std::string(model.param); });

}  // namespace
}  // namespace lockstep::test
