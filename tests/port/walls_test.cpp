// check-walls: a made-up folder for each code, sound configurations without a wall, odd ones.
#include "port/walls.h"

#include <algorithm>
#include <functional>
#include <map>

#include "../run_program.h"
#include "../support.h"
#include "lockstep/error.h"
#include "sound_configs.h"

namespace lockstep::test {
namespace {

namespace fs = std::filesystem;
using port::Wall;
using Json = nlohmann::json;

struct Tensor {
  std::string name;
  DType dtype = DType::kBFloat16;
  std::vector<int64_t> shape = {4, 4};
};

// A decoder of another family, which no code is about.
Json plain_config() {
  return {{"architectures", {"MadeUpForCausalLM"}},
          {"model_type", "made_up"},
          {"hidden_size", 64},
          {"intermediate_size", 128},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"vocab_size", 320},
          {"rope_theta", 10000.0},
          {"rms_norm_eps", 1e-6},
          {"hidden_act", "silu"},
          {"tie_word_embeddings", false},
          {"torch_dtype", "bfloat16"}};
}

const std::vector<Tensor> kPlainTensors = {
    {"model.embed_tokens.weight", DType::kBFloat16, {320, 64}},
    {"model.layers.0.self_attn.q_proj.weight"},
    {"model.layers.1.self_attn.q_proj.weight"},
    {"lm_head.weight", DType::kBFloat16, {320, 64}}};

void write_tensors(const fs::path& file, const std::vector<Tensor>& tensors) {
  SafetensorsWriter writer(file);
  for (const Tensor& tensor : tensors) writer.declare(tensor.name, tensor.dtype, tensor.shape);
  writer.begin();
  for (const Tensor& tensor : tensors) {
    size_t bytes = dtype_size(tensor.dtype);
    for (const int64_t n : tensor.shape) bytes *= static_cast<size_t>(n);
    writer.write(tensor.name, 0, std::vector<std::byte>(bytes));
  }
  writer.commit();
}

void write_tokenizer(const fs::path& folder) {
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) {
    fs::copy_file(fixture("llama") / name, folder / name);
  }
}

// A model folder: what a case changes of a sound one.
struct Folder {
  Json config = plain_config();
  std::vector<Tensor> tensors = kPlainTensors;
  std::map<std::string, std::string> files;
  bool with_weights = true, with_tokenizer = true;

  void write(const fs::path& folder) const {
    write_text(folder / "config.json", config.dump(2));
    if (with_weights) write_tensors(folder / "model.safetensors", tensors);
    if (with_tokenizer) write_tokenizer(folder);
    for (const auto& [name, text] : files) write_text(folder / name, text);
  }
};

std::vector<Wall> walls_of(const fs::path& folder) {
  return find_walls(port::ModelFacts::survey(folder.string()), Registry());
}
std::vector<Wall> walls_of(const Folder& folder) {
  TempDir temp;
  folder.write(temp.path());
  return walls_of(temp.path());
}

const Wall* find(const std::vector<Wall>& walls, const std::string& code) {
  const auto found = std::ranges::find(walls, code, &Wall::code);
  return found == walls.end() ? nullptr : &*found;
}

std::string shown(const std::vector<Wall>& walls) {
  std::string text;
  for (const Wall& wall : walls) {
    text += (wall.level == Wall::Level::kBlock ? "BLOCK [" : "WARN [") + wall.code + "] " +
            wall.message + " | " + wall.evidence + "\n";
  }
  return text;
}

constexpr Wall::Level kBlock = Wall::Level::kBlock, kWarn = Wall::Level::kWarn;

struct Case {
  const char* name;
  const char* code;
  Wall::Level level;
  std::function<void(Folder&)> change;
  const char* evidence;  // a part of it
};

std::function<void(Folder&)> key(const char* name, Json value) {
  return [name, value](Folder& f) { f.config[name] = value; };
}
std::function<void(Folder&)> text_key(const char* name, Json value) {
  return [name, value](Folder& f) {
    f.config = {{"architectures", {"MadeUpForConditionalGeneration"}},
                {"model_type", "made_up"},
                {"text_config", plain_config()}};
    f.config["text_config"][name] = value;
  };
}
std::function<void(Folder&)> tensor(Tensor added) {
  return [added](Folder& f) { f.tensors.push_back(added); };
}
std::function<void(Folder&)> file(const char* name, const char* text) {
  return [name, text](Folder& f) { f.files[name] = text; };
}
std::function<void(Folder&)> only_file(const char* name) {
  return [name](Folder& f) {
    f.with_weights = false;
    f.files[name] = "bytes";
  };
}

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"flag", "alibi", kWarn, key("alibi", true), "alibi = true"},
      {"type", "alibi", kWarn, key("position_embedding_type", "ALiBi"), "ALiBi"},
      {"nested", "alibi", kWarn, key("attn_config", {{"alibi", true}}), "attn_config.alibi"},
      {"in the text part", "alibi", kWarn, text_key("use_alibi", true), "text_config.use_alibi"},
      {"buckets", "alibi", kBlock, key("relative_attention_num_buckets", 32), "= 32"},
      {"relative keys", "alibi", kBlock, key("position_embedding_type", "relative_key"),
       "relative_key"},
      {"unknown rope", "alibi", kWarn,
       key("rope_scaling", {{"rope_type", "spiral"}, {"factor", 2.0}}), "spiral"},
      {"mamba", "ssm_or_recurrence", kWarn, key("mamba_d_state", 16), "mamba_d_state"},
      {"delta rule", "ssm_or_recurrence", kWarn, key("linear_num_value_heads", 4), "value_heads"},
      {"short conv", "ssm_or_recurrence", kWarn, key("layer_types", {"conv", "full_attention"}),
       "layer_types"},
      {"rwkv", "ssm_or_recurrence", kBlock, key("model_type", "rwkv7"), "rwkv7"},
      {"rwkv tensors", "ssm_or_recurrence", kBlock, tensor({"blocks.0.att.time_decay"}),
       "time_decay"},
      {"rg-lru", "ssm_or_recurrence", kBlock, key("block_types", {"recurrent", "attention"}),
       "block_types"},
      {"lightning", "ssm_or_recurrence", kBlock, key("attn_type_list", {0, 0, 1}),
       "attn_type_list"},
      {"linear attention", "ssm_or_recurrence", kBlock,
       key("layer_types", {"linear_attention", "full_attention"}), "layer_types"},
      {"kda", "ssm_or_recurrence", kBlock, text_key("linear_attn_config", {{"kda_layers", {1}}}),
       "linear_attn_config"},
      {"fp8 tensors", "quant_only", kBlock,
       tensor({"model.layers.0.mlp.up_proj.weight", DType::kFloat8E4M3}), "F8_E4M3"},
      {"packed tensors", "quant_only", kBlock,
       tensor({"model.layers.0.mlp.up_proj.qweight", DType::kInt32}), "qweight"},
      {"int8 tensors", "quant_only", kBlock,
       tensor({"model.layers.0.mlp.up_proj.weight", DType::kInt8}), "I8"},
      {"fp8", "quant_scheme", kBlock,
       key("quantization_config", {{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}}),
       "quantization_config"},
      {"gptq", "quant_scheme", kBlock,
       key("quantization_config", {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 128}}),
       "gptq"},
      {"compressed tensors", "quant_scheme", kBlock,
       text_key("compression_config", {{"config_groups", {{"group_0", {{"weights", 1}}}}}}),
       "text_config.compression_config"},
      {"on the fly", "quant_scheme", kBlock, key("quantization_config", {{"load_in_4bit", true}}),
       "load_in_4bit"},
      {"quantiser's file", "quant_scheme", kBlock,
       file("quantize_config.json", R"({"bits": 4, "group_size": 128})"), "quantize_config.json"},
      {"no method", "quant_scheme", kWarn, key("quantization_config", {{"note", "x"}}), "note"},
      {"pickles", "weights_format", kBlock, only_file("pytorch_model.bin"), "pytorch_model.bin"},
      {"gguf", "weights_format", kBlock, only_file("model-Q4_K.gguf"), "Q4_K"},
      {"pth", "weights_format", kBlock, only_file("consolidated.00.pth"), "consolidated"},
      {"odd name", "weights_format", kBlock, only_file("consolidated.safetensors"), "consolidated"},
      {"none", "weights_format", kWarn, [](Folder& f) { f.with_weights = false; }, ""},
      {"auto_map", "custom_code", kWarn,
       key("auto_map", {{"AutoModelForCausalLM", "modeling_x.XForCausalLM"}}), "modeling_x"},
      {"code without auto_map", "custom_code", kWarn, file("modeling_x.py", "class X: pass\n"),
       "modeling_x.py"},
      {"needed", "custom_kernel_import", kBlock,
       file("modeling_x.py", "import torch\nimport mamba_ssm\n"), "modeling_x.py:2"},
      {"from a package", "custom_kernel_import", kBlock,
       file("layers.py", "from triton.language import load\n"), "layers.py:1"},
      {"guarded", "custom_kernel_import", kWarn,
       file("modeling_x.py", "try:\n    from flash_attn import f\nexcept ImportError:\n  f = 0\n"),
       "flash_attn"},
      {"own code", "tokenizer_class", kBlock,
       [](Folder& f) {
         f.with_tokenizer = false;
         f.files["tokenizer_config.json"] =
             R"({"tokenizer_class": "OddTokenizer", "auto_map": {"AutoTokenizer": ["t.Odd", null]}})";
         f.files["vocab.tiktoken"] = "IQ== 0\n";
       },
       "auto_map.AutoTokenizer"},
      {"damaged", "tokenizer_class", kBlock,
       [](Folder& f) {
         f.with_tokenizer = false;
         f.files["tokenizer.json"] = "{";
       },
       "tokenizer.json"},
      {"odd class", "tokenizer_class", kWarn, key("tokenizer_class", "OddTokenizer"), ""},
      {"flag", "encoder_decoder", kBlock, key("is_encoder_decoder", true), "is_encoder_decoder"},
      {"flag as text", "encoder_decoder", kBlock, key("is_encoder_decoder", "true"), "true"},
      {"layers", "encoder_decoder", kBlock, key("num_decoder_layers", 6), "num_decoder_layers"},
      {"tensors", "encoder_decoder", kBlock,
       [](Folder& f) {
         f.tensors = {{"encoder.block.0.q.weight"}, {"decoder.block.0.q.weight"}};
       },
       "encoder.block.0"},
      {"vision", "multimodal", kWarn, key("vision_config", {{"hidden_size", 8}}), "vision_config"},
      {"text config", "multimodal", kWarn, text_key("model_type", "llama"), "text_config"},
      {"tensors", "multimodal", kWarn, tensor({"model.visual.patch_embed.weight"}), "visual"},
      {"two encoders", "multimodal", kBlock,
       [](Folder& f) {
         f.config = {{"architectures", {"CLIPModel"}},
                     {"model_type", "clip"},
                     {"text_config", {{"model_type", "clip_text_model"}}},
                     {"vision_config", {{"hidden_size", 8}}}};
       },
       "vision_config"},
      {"key", "diffusion", kBlock, key("diffusion_steps", 32), "diffusion_steps"},
      {"type", "diffusion", kBlock, key("model_type", "llada"), "llada"},
      {"pipeline", "diffusion", kBlock, file("model_index.json", R"({"_class_name": "Flux"})"),
       "model_index.json"},
      {"key", "shared_router", kWarn, key("share_router", true), "share_router"},
      {"tensors", "shared_router", kWarn,
       [](Folder& f) {
         f.tensors.push_back({"model.layers.0.mlp.experts.0.up_proj.weight"});
         f.tensors.push_back({"model.layers.1.mlp.experts.0.up_proj.weight"});
         f.tensors.push_back({"model.router.weight"});
       },
       "model.router.weight"},
      {"keys", "indexer", kBlock, key("index_topk", 2048), "index_topk = 2048"},
      {"tensors", "indexer", kBlock, tensor({"model.layers.0.self_attn.indexer.wq_b.weight"}),
       "indexer.wq_b"},
      {"absent", "architectures_shape", kBlock, [](Folder& f) { f.config.erase("architectures"); },
       "no such key"},
      {"null", "architectures_shape", kBlock, key("architectures", nullptr), "null"},
      {"empty", "architectures_shape", kBlock, key("architectures", Json::array()), "[]"},
      {"a word", "architectures_shape", kBlock, key("architectures", "X"), "X"},
      {"a number in it", "architectures_shape", kBlock, key("architectures", {3}), "[3]"},
      {"several", "architectures_shape", kWarn, key("architectures", {"A", "B"}), "B"},
      {"another head", "architectures_shape", kBlock,
       key("architectures", {"MadeUpForSequenceClassification"}), "Sequence"},
      {"huge", "very_large", kWarn,
       [](Folder& f) {
         f.config["hidden_size"] = 16384;
         f.config["intermediate_size"] = 53248;
         f.config["num_hidden_layers"] = 1260;
       },
       "1260 layers"},
  };
  return all;
}

TEST(WallsTest, EveryCodeIsFoundInItsFolders) {
  for (const Case& c : cases()) {
    Folder folder;
    c.change(folder);
    const std::vector<Wall> walls = walls_of(folder);
    const Wall* wall = find(walls, c.code);
    EXPECT_NE(wall, nullptr) << c.code << ", " << c.name << ":\n" << shown(walls);
    if (wall == nullptr) continue;
    EXPECT_EQ(wall->level, c.level) << c.code << ", " << c.name << ":\n" << shown(walls);
    EXPECT_NE(wall->evidence.find(c.evidence), std::string::npos)
        << c.code << ", " << c.name << ": " << wall->evidence;
    EXPECT_FALSE(wall->message.empty());
    EXPECT_FALSE(wall->way_out.empty());
  }
}

TEST(WallsTest, EveryCodeHasACase) {
  for (const char* code :
       {"alibi", "ssm_or_recurrence", "quant_only", "quant_scheme", "weights_format", "custom_code",
        "custom_kernel_import", "tokenizer_class", "encoder_decoder", "multimodal", "diffusion",
        "shared_router", "indexer", "architectures_shape", "very_large"}) {
    EXPECT_TRUE(std::ranges::any_of(cases(), [&](const Case& c) {
      return std::string_view(c.code) == code;
    })) << code;
  }
}

TEST(WallsTest, ThePlainFolderHasNone) { EXPECT_EQ(shown(walls_of(Folder())), ""); }

TEST(WallsTest, SoundConfigurationsAreNotBlocked) {
  ASSERT_GE(sound_configs().size(), 10u);
  for (const SoundConfig& sound : sound_configs()) {
    Folder folder;
    folder.config = Json::parse(sound.json);
    for (const bool with_weights : {true, false}) {
      folder.with_weights = with_weights;
      for (const Wall& wall : walls_of(folder)) {
        EXPECT_EQ(wall.level, kWarn) << sound.name << ": " << shown({wall});
        // What a registered architecture computes is no matter of warnings, either.
        const std::string name = folder.config["architectures"][0];
        const bool is_registered = Registry().find(name) != nullptr;
        EXPECT_FALSE(is_registered && (wall.code == "alibi" || wall.code == "ssm_or_recurrence"))
            << sound.name;
      }
    }
  }
}

TEST(WallsTest, WhatIsOffIsNoWall) {
  for (const auto& [name, value] :
       std::map<std::string, Json>{{"alibi", false},
                                   {"use_alibi", nullptr},
                                   {"alibi_bias_max", 8},
                                   {"attn_config", {{"alibi", false}, {"alibi_bias_max", 8}}},
                                   {"position_embedding_type", "rope"},
                                   {"mamba_d_state", nullptr},
                                   {"layer_types", {"full_attention", "sliding_attention"}},
                                   {"attn_type_list", {1, 1}},
                                   {"quantization_config", nullptr},
                                   {"auto_map", nullptr},
                                   {"auto_map", Json::object()},
                                   {"is_encoder_decoder", false},
                                   {"add_cross_attention", false},
                                   {"vision_config", nullptr},
                                   {"share_router", false},
                                   {"n_shared_experts", 1},
                                   {"index_topk", nullptr},
                                   {"use_mamba", false},
                                   {"rope_scaling", nullptr}}) {
    Folder folder;
    folder.config[name] = value;
    EXPECT_EQ(shown(walls_of(folder)), "") << name;
  }
}

TEST(WallsTest, ValuesOfAnyKindEndInAnAnswer) {
  const std::vector<Json> values = {
      nullptr,        true,           -1, 1e300, "", "x", Json::array(), {nullptr, 3, "a"},
      Json::object(), {{"type", {1}}}};
  for (const char* name :
       {"architectures",       "model_type",        "text_config",          "vision_config",
        "quantization_config", "auto_map",          "rope_scaling",         "layer_types",
        "hidden_size",         "num_hidden_layers", "vocab_size",           "torch_dtype",
        "is_encoder_decoder",  "attn_type_list",    "transformers_version", "num_experts",
        "tie_word_embeddings", "tokenizer_class",   "index_topk",           "alibi"}) {
    for (const Json& value : values) {
      Folder folder;
      folder.config[name] = value;
      TempDir temp;
      folder.write(temp.path());
      try {
        for (const Wall& wall : walls_of(temp.path())) EXPECT_FALSE(wall.code.empty());
      } catch (const Error& error) {
        // A rope_scaling of a wrong kind is an unreadable config.json.
        EXPECT_NE(error.message().find("config.json"), std::string::npos) << name << value;
      }
    }
  }
}

TEST(WallsTest, NoFixtureIsBlocked) {
  size_t n = 0;
  for (const std::string& name : golden_fixtures()) {
    const std::vector<Wall> walls = walls_of(fixture(name));
    EXPECT_EQ(shown(walls), "") << name;
    ++n;
  }
  EXPECT_GE(n, std::size(kFixtures));
}

TEST(WallsTest, QuantisationIsDescribed) {
  Folder folder;
  folder.config["quantization_config"] = {
      {"quant_method", "compressed-tensors"},
      {"config_groups",
       {{"group_0", {{"weights", {{"num_bits", 4}, {"strategy", "group"}, {"group_size", 128}}}}}}},
      {"ignore", {"lm_head"}}};
  folder.files["README.md"] = "---\nbase_model:\n- org/plain\n---\n# Card\n";
  const std::vector<Wall> walls = walls_of(folder);
  const Wall* wall = find(walls, "quant_scheme");
  ASSERT_NE(wall, nullptr);
  for (const char* part : {"compressed-tensors", "bits 4", "\"group\"", "128", "lm_head"}) {
    EXPECT_NE(wall->message.find(part), std::string::npos) << part << ": " << wall->message;
  }
  EXPECT_NE(wall->way_out.find("org/plain"), std::string::npos) << wall->way_out;
}

TEST(WallsTest, RegisteredTextModelIsNamedForAWrapper) {
  Folder folder;
  folder.config = {{"architectures", {"LlavaForConditionalGeneration"}},
                   {"model_type", "llava"},
                   {"text_config", {{"model_type", "llama"}}},
                   {"vision_config", {{"model_type", "clip_vision_model"}}}};
  const std::vector<Wall> walls = walls_of(folder);
  const Wall* wall = find(walls, "multimodal");
  ASSERT_NE(wall, nullptr);
  EXPECT_EQ(wall->level, kWarn);
  EXPECT_NE(wall->way_out.find("TextBackbone<llama::LlamaForCausalLM>"), std::string::npos);
}

TEST(WallsTest, WhatARegisteredClassDoesNotReadIsSaid) {
  for (const auto& [name, value] : std::map<std::string, Json>{{"alibi", true},
                                                               {"index_topk", 8},
                                                               {"is_encoder_decoder", true},
                                                               {"share_router", true},
                                                               {"mamba_d_state", 16},
                                                               {"vision_config", {{"depth", 2}}}}) {
    TempDir temp;
    for (const char* file : {"model.safetensors", "tokenizer.json", "tokenizer_config.json"}) {
      fs::copy_file(fixture("llama") / file, temp.path() / file);
    }
    Json config = read_json(fixture("llama") / "config.json");
    config[name] = value;
    write_text(temp.path() / "config.json", config.dump());
    const std::vector<Wall> walls = walls_of(temp.path());
    ASSERT_EQ(walls.size(), 1u) << name << "\n" << shown(walls);
    EXPECT_EQ(walls[0].level, kWarn);
    EXPECT_NE(walls[0].evidence.find(name), std::string::npos) << walls[0].evidence;
  }
}

TEST(WallsTest, RegisteredClassThatRefusesItsConfigIsSaid) {
  Folder folder;
  folder.config["architectures"] = {"LlamaForCausalLM"};
  folder.config["hidden_act"] = "made_up";
  const std::vector<Wall> walls = walls_of(folder);
  const Wall* wall = find(walls, "architectures_shape");
  ASSERT_NE(wall, nullptr) << shown(walls);
  EXPECT_NE(wall->evidence.find("made_up"), std::string::npos) << wall->evidence;
}

// What the program prints, and how it ends.
class CheckWallsTest : public testing::Test {
 protected:
  std::string write(const Folder& folder) {
    folder.write(temp_.path());
    return temp_.path().string();
  }
  TempDir temp_;
};

TEST_F(CheckWallsTest, NoneEndsWith0) {
  const Outcome outcome = run_lockstep("check-walls '" + write(Folder()) + "'");
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_NE(outcome.text.find("0 walls, 0 warnings\nnext: lockstep plan"), std::string::npos)
      << outcome.text;
}

TEST_F(CheckWallsTest, WarningEndsWith1) {
  Folder folder;
  folder.config["alibi"] = true;
  const Outcome outcome = run_lockstep("check-walls '" + write(folder) + "'");
  EXPECT_EQ(outcome.status, 1) << outcome.text;
  EXPECT_TRUE(outcome.text.starts_with("WARN [alibi] ")) << outcome.text;
}

TEST_F(CheckWallsTest, BlockEndsWith2AndJsonSaysThatItIsAWall) {
  Folder folder;
  folder.config["index_topk"] = 8;
  const std::string model = write(folder);
  Outcome outcome = run_lockstep("check-walls '" + model + "'");
  EXPECT_EQ(outcome.status, 2);
  EXPECT_TRUE(outcome.text.starts_with("BLOCK [indexer] ")) << outcome.text;
  outcome = run_lockstep("check-walls --json '" + model + "'", "2>/dev/null");
  EXPECT_EQ(outcome.status, 2);
  const Json json = Json::parse(outcome.text);
  EXPECT_EQ(json["hf_id"], model);
  EXPECT_EQ(json["exit_code"], 2);
  const Json& finding = json["findings"][0];
  EXPECT_EQ(finding["level"], "block");
  EXPECT_EQ(finding["code"], "indexer");
  EXPECT_EQ(finding["evidence"], "index_topk = 8");
  EXPECT_FALSE(finding["message"].empty());
  EXPECT_FALSE(finding["way_out"].empty());
}

TEST_F(CheckWallsTest, UnreadableConfigIsAnErrorAndNoWall) {
  write(Folder());
  write_text(temp_.path() / "config.json", "{\"architectures\": ");
  for (const std::string& model : {temp_.path().string(), std::string("/no/such/folder")}) {
    const Outcome outcome = run_lockstep("check-walls --json '" + model + "'", "2>/dev/null");
    EXPECT_EQ(outcome.status, 2);
    const Json json = Json::parse(outcome.text);
    EXPECT_TRUE(json.contains("error")) << outcome.text;
    EXPECT_FALSE(json.contains("findings"));
  }
}

TEST_F(CheckWallsTest, PipelineWithoutConfigIsAWall) {
  write_text(temp_.path() / "model_index.json", "{\"_class_name\": \"FluxPipeline\"}");
  const Outcome outcome = run_lockstep("check-walls '" + temp_.path().string() + "'");
  EXPECT_EQ(outcome.status, 2) << outcome.text;
  EXPECT_NE(outcome.text.find("BLOCK [diffusion]"), std::string::npos) << outcome.text;
}

}  // namespace
}  // namespace lockstep::test
