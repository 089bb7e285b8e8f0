// The deltas between made-up models and registered architectures.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "port/delta.h"

namespace lockstep::port {
namespace {

using Tensors = std::vector<std::pair<std::string, std::vector<int64_t>>>;

// Two layers wired and named as Llama's: 4 heads of 8, 2 of keys and values, an MLP of 48.
constexpr const char* kKeys =
    R"("architectures": ["FooForCausalLM"], "model_type": "foo", "vocab_size": 64,
       "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
       "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-6,
       "hidden_act": "silu", "rope_theta": 10000.0, "tie_word_embeddings": false)";

Tensors plain_tensors() {
  Tensors tensors = {{"model.embed_tokens.weight", {64, 32}},
                     {"model.norm.weight", {32}},
                     {"lm_head.weight", {64, 32}}};
  for (int i = 0; i < 2; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    for (const auto& [name, shape] : Tensors{{"self_attn.q_proj", {32, 32}},
                                             {"self_attn.k_proj", {16, 32}},
                                             {"self_attn.v_proj", {16, 32}},
                                             {"self_attn.o_proj", {32, 32}},
                                             {"mlp.gate_proj", {48, 32}},
                                             {"mlp.up_proj", {48, 32}},
                                             {"mlp.down_proj", {32, 48}},
                                             {"input_layernorm", {32}},
                                             {"post_attention_layernorm", {32}}}) {
      tensors.emplace_back(layer + name + ".weight", shape);
    }
  }
  return tensors;
}

void add_to_layers(Tensors& tensors, const std::string& name, const std::vector<int64_t>& shape) {
  for (int i = 0; i < 2; ++i)
    tensors.emplace_back(fmt::format("model.layers.{}.{}", i, name), shape);
}

ModelFacts facts_of(const std::string& config, const Tensors& tensors) {
  ModelFacts facts{.model = "made/up",
                   .folder = {},
                   .config = ConfigFile::parse(config, "config.json"),
                   .tensors = {},
                   .class_name = "FooForCausalLM",
                   .model_type = "foo",
                   .card = {}};
  uint64_t at = 0;
  for (const auto& [name, shape] : tensors) {
    uint64_t bytes = 2;
    for (const int64_t n : shape) bytes *= static_cast<uint64_t>(n);
    facts.tensors.tensors.push_back({name, DType::kBFloat16, shape, at, at + bytes});
    at += bytes;
  }
  return facts;
}

ModelFacts with_keys(const std::string& more, const Tensors& tensors = plain_tensors()) {
  return facts_of(fmt::format("{{{}{}}}", kKeys, more.empty() ? "" : ", " + more), tensors);
}

DonorReport donor(const ModelFacts& facts, const std::string& slug) {
  for (DonorReport& report : rank_donors(facts, Registry())) {
    if (report.slug == slug) return std::move(report);
  }
  ADD_FAILURE() << slug << " is not among the donors";
  return {};
}

const Delta& only(const DonorReport& report) {
  EXPECT_EQ(report.deltas.size(), 1u) << report.slug;
  return report.deltas.at(0);
}

TEST(RankDonorsTest, NothingDiffers) {
  const DonorReport llama = donor(with_keys(""), "llama");
  EXPECT_TRUE(llama.deltas.empty());
  EXPECT_EQ(rank_donors(with_keys(""), Registry()).front().slug, "llama");
}

TEST(RankDonorsTest, WhatIsOffIsNoDelta) {
  const ModelFacts facts = with_keys(
      R"("use_sliding_window": false, "sliding_window": 4096, "max_window_layers": 28,
         "embedding_multiplier": 1.0, "residual_multiplier": 1, "no_rope_layers": [1, 1],
         "layer_types": ["full_attention", "full_attention"], "attention_dropout": 0.1,
         "logit_softcap": null, "head_dim": 8, "max_position_embeddings": 4096, "extra": {},
         "n_shared": 0)");
  EXPECT_TRUE(donor(facts, "llama").deltas.empty());
}

TEST(RankDonorsTest, AListThatNobodyReadsIsStructural) {
  const ModelFacts facts = with_keys(R"("no_rope_layers": [1, 0], "no_rope_layer_interval": 2)");
  const DonorReport report = donor(facts, "llama");
  const Delta& delta = only(report);
  EXPECT_EQ(delta.kind, Delta::Kind::kStructural);
  EXPECT_EQ(delta.part, "positions");
  EXPECT_EQ(delta.keys, std::vector<std::string>{"no_rope_layers"});
  EXPECT_EQ(delta.reference, "no_rope_layers = [1,0]");
  EXPECT_EQ(delta.number, 1);
  EXPECT_TRUE(delta.where.empty());
  EXPECT_EQ(rank_donors(facts, Registry()).front().slug, "smollm3");
}

TEST(RankDonorsTest, AScalarIsCosmeticUnlessSomethingIsDoneWithItAlone) {
  const DonorReport scalar = donor(with_keys(R"("attention_strength": 0.3)"), "llama");
  EXPECT_EQ(only(scalar).kind, Delta::Kind::kCosmetic);
  const DonorReport factor = donor(with_keys(R"("embedding_multiplier": 12.0)"), "llama");
  EXPECT_EQ(only(factor).kind, Delta::Kind::kStructural);
  EXPECT_EQ(only(factor).part, "layer");
}

TEST(RankDonorsTest, TensorsOfATopicAreOneDeltaWithTheirKeys) {
  Tensors tensors = plain_tensors();
  add_to_layers(tensors, "self_attn.q_norm.weight", {8});
  add_to_layers(tensors, "self_attn.k_norm.weight", {8});
  const ModelFacts facts = with_keys(R"("use_qk_norm": true)", tensors);
  const DonorReport report = donor(facts, "llama");
  const Delta& delta = only(report);
  EXPECT_EQ(delta.part, "attention");
  EXPECT_EQ(delta.keys, std::vector<std::string>{"use_qk_norm"});
  EXPECT_EQ(delta.tensors, (std::vector<std::string>{"model.layers.*.self_attn.k_norm.weight",
                                                     "model.layers.*.self_attn.q_norm.weight"}));
  EXPECT_EQ(delta.reference,
            "stores model.layers.*.self_attn.{k_norm,q_norm}.weight; use_qk_norm = true");
  EXPECT_EQ(rank_donors(facts, Registry()).front().n_structural(), 1u);
}

TEST(RankDonorsTest, LayersAreNamedWhereNotAllDiffer) {
  Tensors tensors = plain_tensors();
  tensors.emplace_back("model.layers.1.mlp.down_proj.bias", std::vector<int64_t>{32});
  const DonorReport report = donor(with_keys("", tensors), "llama");
  EXPECT_EQ(only(report).reference, "stores model.layers.*.mlp.down_proj.bias (layer 1)");
  EXPECT_EQ(only(report).part, "mlp");
}

TEST(RankDonorsTest, ADefaultThatDoesNotFitIsCosmetic) {
  Tensors tensors = plain_tensors();
  for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
    const bool is_narrow = name[0] == 'k' || name[0] == 'v';
    add_to_layers(tensors, fmt::format("self_attn.{}.bias", name), {is_narrow ? 16 : 32});
  }
  const DonorReport report = donor(with_keys("", tensors), "llama");
  EXPECT_EQ(only(report).kind, Delta::Kind::kCosmetic);
  EXPECT_EQ(only(report).keys, std::vector<std::string>{"attention_bias"});
  EXPECT_EQ(only(report).change, "make true the default");
}

TEST(RankDonorsTest, AKeyUnderAnotherNameIsCosmetic) {
  std::string config = fmt::format("{{{}}}", kKeys);
  for (const auto& [name, other] :
       {std::pair("hidden_size", "n_embd"), std::pair("num_hidden_layers", "n_layer")}) {
    config.replace(config.find(name), std::string(name).size(), other);
  }
  const DonorReport report = donor(facts_of(config, plain_tensors()), "llama");
  EXPECT_EQ(only(report).kind, Delta::Kind::kCosmetic);
  EXPECT_EQ(only(report).keys, (std::vector<std::string>{"n_embd", "n_layer"}));
}

TEST(RankDonorsTest, ARefusedValueIsADeltaAndTheTraceGoesOn) {
  Tensors tensors = plain_tensors();
  add_to_layers(tensors, "self_attn.sinks", {4});
  const DonorReport report = donor(
      with_keys(R"("rope_scaling": {"rope_type": "spiral", "factor": 2.0})", tensors), "llama");
  ASSERT_EQ(report.n_structural(), 2u);
  EXPECT_EQ(report.deltas[0].part, "attention");
  EXPECT_EQ(report.deltas[1].part, "positions");
  EXPECT_NE(report.deltas[1].donor.find("spiral"), std::string::npos) << report.deltas[1].donor;
}

TEST(RankDonorsTest, AMissingKeyThatADonorRequiresDoesNotStopIt) {
  const DonorReport report = donor(with_keys(""), "deepseek_v2");
  EXPECT_GT(report.n_structural(), 1u);
  for (const Delta& delta : report.deltas) EXPECT_NE(delta.part, "config") << delta.donor;
}

TEST(RankDonorsTest, WhatADonorDoesUnaskedIsADelta) {
  const DonorReport gemma = donor(with_keys(""), "gemma");
  std::string donors;
  for (const Delta& delta : gemma.deltas) donors += delta.donor + "\n";
  EXPECT_NE(donors.find("adds 1 to the weights of norms"), std::string::npos) << donors;
  EXPECT_NE(donors.find("scales the embeddings"), std::string::npos) << donors;
}

TEST(RankDonorsTest, TheTextPartOfAWrapper) {
  const std::string config = fmt::format(
      R"({{"architectures": ["FooForConditionalGeneration"], "model_type": "foo",
          "vision_config": {{"depth": 4}}, "image_token_id": 9, "text_config": {{{}}}}})",
      kKeys);
  Tensors tensors = {{"model.vision_tower.blocks.0.weight", {8, 8}},
                     {"model.projector.weight", {8, 8}}};
  for (auto& [name, shape] : plain_tensors()) {
    const bool is_head = name.starts_with("lm_head");
    tensors.emplace_back(is_head ? name : "model.language_model." + name.substr(6), shape);
  }
  const DonorReport report = donor(facts_of(config, tensors), "llama");
  const Delta& delta = only(report);
  EXPECT_EQ(delta.part, "weights");
  EXPECT_EQ(delta.keys, std::vector<std::string>{"text_config"});
  EXPECT_EQ(delta.tensors, (std::vector<std::string>{"model.projector.*", "model.vision_tower.*"}));
}

TEST(RankDonorsTest, AModelIsNotItsOwnDonor) {
  ModelFacts facts = with_keys("");
  facts.class_name = "LlamaForCausalLM";
  for (const DonorReport& report : rank_donors(facts, Registry())) EXPECT_NE(report.slug, "llama");
  Registry registry;
  registry.leave_out("LlamaForCausalLM");
  EXPECT_EQ(registry.find("LlamaForCausalLM"), nullptr);
  EXPECT_EQ(rank_donors(facts, registry).size(), Registry().entries().size() - 1);
}

TEST(RankDonorsTest, NonsenseIsRankedLastAndDoesNotThrow) {
  const ModelFacts facts = facts_of(
      R"({"architectures": ["FooForCausalLM"], "num_hidden_layers": "many",
          "hidden_size": -3, "vocab_size": {"__float__": "Infinity"}, "a": [[1], {"b": null}]})",
      {{"..", {1}}, {"weird name\n", {2, 2}}, {"0.1.2", {3}}});
  const std::vector<DonorReport> reports = rank_donors(facts, Registry());
  EXPECT_EQ(reports.size(), Registry().entries().size());
  for (const DonorReport& report : reports) EXPECT_GT(report.n_structural(), 0u) << report.slug;
}

}  // namespace
}  // namespace lockstep::port
