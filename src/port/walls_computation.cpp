// Walls of what a model computes: positions, recurrences, routers, indexed attention.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <span>

#include "ops/op.h"
#include "port/wall_check.h"

namespace lockstep::port {
namespace {

using Kind = ConfigFile::Kind;
using Level = Wall::Level;

bool contains_any(std::string_view text, std::span<const std::string_view> parts) {
  return std::ranges::any_of(parts, [&](std::string_view part) { return contains(text, part); });
}

bool is_about_positions(const ConfigKey& key) {
  const std::string path = lower_case(key.path);
  return contains(path, "pos") || contains(path, "rotary") || contains(path, "rope") ||
         contains(path, "bias");
}

// Whether a key says that the scheme is used: `use_alibi: true`, `position_embedding_type:
// "alibi"`. `alibi_bias_max: 8` alone does not.
bool says_alibi(const ConfigKey& key) {
  if (key.node->kind == Kind::kString && contains(key.text(), "alibi")) {
    return is_about_positions(key);
  }
  return key.name == "alibi" || (contains(key.name, "alibi") && key.node->kind == Kind::kBool);
}

// Biases by distance that are learned or bucketed, and other schemes without a kernel.
bool says_relative(const ConfigKey& key) {
  constexpr std::array<std::string_view, 5> kNames = {"relative_attention_num_buckets",
                                                      "position_buckets", "xpos_rel_pos",
                                                      "use_xpos", "rel_attn_bins"};
  constexpr std::array<std::string_view, 8> kValues = {"relative", "t5",   "xpos", "kerple",
                                                       "sandwich", "fire", "cope", "disentangled"};
  if (std::ranges::find(kNames, key.name) != kNames.end()) return true;
  const bool is_type = is_about_positions(key) && !key.name.ends_with("rope_type") &&
                       key.node->kind == Kind::kString;
  return is_type && contains_any(key.text(), kValues);
}

// The types that nn/rope_config.h reads.
bool is_known_rope(const std::string& type) {
  constexpr std::array<std::string_view, 8> kTypes = {
      "default", "linear", "dynamic", "llama3", "yarn", "longrope", "proportional", "su"};
  return std::ranges::find(kTypes, type) != kTypes.end();
}

bool is_unknown_rope(const ConfigKey& key) {
  const bool is_type =
      key.name == "rope_type" || (key.name == "type" && contains(key.path, "rope"));
  return is_type && key.node->kind == Kind::kString && !is_known_rope(key.text());
}

// A kind of layer that keeps a state, how it shows, and the op that it needs; an empty op is one
// that this build does not have.
struct Recurrence {
  std::string_view name;
  std::string_view op;
  std::vector<std::string_view> keys;         // parts of names of keys
  std::vector<std::string_view> model_types;  // parts of model_type
  std::vector<std::string_view> layer_types;  // parts of entries of lists of layer types
  std::vector<std::string_view> tensors;      // patterns
};

constexpr std::string_view kLightning = "lightning attention";

// What has no op comes first: a model that has both kinds is blocked.
const std::vector<Recurrence>& recurrences() {
  static const std::vector<Recurrence> all = {
      {"RWKV's time mixing",
       "",
       {"rwkv", "wkv_", "rescale_every"},
       {"rwkv"},
       {"rwkv"},
       {"*.time_mix*", "*.time_decay*", "*.time_maa*"}},
      {"retention", "", {"retention"}, {"retnet"}, {"retention", "retnet"}, {"*retention*"}},
      {"xLSTM",
       "",
       {"xlstm", "mlstm", "slstm"},
       {"xlstm"},
       {"mlstm", "slstm"},
       {"*mlstm*", "*slstm*", "*xlstm*"}},
      {"a gated linear recurrence (RG-LRU)",
       "",
       {"lru_width", "rg_lru"},
       {"recurrent_gemma", "griffin"},
       {"recurrent", "rglru"},
       {"*rg_lru*", "*recurrent_gate*"}},
      {"long convolutions (Hyena)", "", {"hyena"}, {"hyena", "evo"}, {"hyena"}, {"*hyena*"}},
      {kLightning,
       "",
       {"lightning", "linear_attn_alpha", "linear_attn_beta"},
       {"bailing_hybrid", "bailing_moe_linear"},
       {"lightning"},
       {"*lightning*"}},
      {"Kimi's delta attention",
       "",
       {"linear_attn_config", "kda_"},
       {"kimi_linear", "kda"},
       {"kda"},
       {"*.kda*"}},
      {"a linear attention of another kind",
       "",
       {"ttt_", "titans", "use_linear_attn", "hgrn", "gated_linear"},
       {"gla", "hgrn", "gsa", "delta_net", "deltanet", "linear_attn", "lstm", "ttt"},
       {"ttt", "hgrn", "gla", "gsa"},
       {"*.hgrn*", "*.ttt*"}},
      {"the gated delta rule",
       "gated_delta_rule",
       {"linear_num_value_heads", "linear_num_key_heads"},
       {"qwen3_next", "gated_deltanet"},
       {},
       {"*.linear_attn.A_log"}},
      {"a linear attention that config.json does not describe",
       "",
       {},
       {},
       {"linear_attention"},
       {}},
      {"Mamba's scan",
       "ssd_scan",
       {"mamba", "ssm", "d_state", "time_step_rank", "state_size", "hybrid_override_pattern"},
       {"mamba", "jamba", "zamba", "bamba", "falcon_h1", "nemotron_h", "plamo2"},
       {"mamba", "ssm"},
       {"*.mamba.*", "*.A_log", "*.ssm*"}},
      {"short convolutions",
       "causal_conv",
       {"conv_l_cache", "short_conv"},
       {"lfm2"},
       {"conv", "short_conv"},
       {"*.conv.conv.weight", "*.short_conv*"}},
  };
  return all;
}

// Short names stand for themselves between underscores: "gla" is no part of "english".
bool is_model_type(const std::string& type, std::span<const std::string_view> parts) {
  return std::ranges::any_of(parts, [&](std::string_view part) {
    return contains(fmt::format("_{}_", type), fmt::format("_{}_", part)) ||
           (part.size() > 3 && contains(type, part));
  });
}

// MiniMax's list of 0 for lightning attention and 1 for softmax.
bool lists_lightning(const ConfigKey& key) {
  return key.name == "attn_type_list" && key.node->kind == Kind::kArray &&
         std::ranges::any_of(key.node->elements, [](const JsonNodePtr& element) {
           return element->kind == Kind::kInt && element->integer == 0;
         });
}

bool is_layer_list(const ConfigKey& key) {
  return key.node->kind == Kind::kArray &&
         (contains(key.name, "type") || contains(key.name, "pattern"));
}

// The evidence for one kind of recurrence; empty where there is none.
std::string evidence_of(const Recurrence& kind, const WallContext& context) {
  const ConfigKey* key = context.first([&](const ConfigKey& k) {
    if (k.name == "model_type") return is_model_type(k.text(), kind.model_types);
    if (contains_any(k.name, kind.keys)) return !k.name.ends_with("dtype");
    if (kind.name == kLightning && lists_lightning(k)) return true;
    if (!is_layer_list(k)) return false;
    return std::ranges::any_of(k.node->elements, [&](const JsonNodePtr& element) {
      return element->kind == Kind::kString &&
             contains_any(lower_case(element->text), kind.layer_types);
    });
  });
  if (key != nullptr) return key->shown();
  if (context.is_traced) return "";
  for (const std::string_view pattern : kind.tensors) {
    const std::string name = context.tensor({pattern});
    if (!name.empty()) return "tensor " + name;
  }
  return "";
}

// "model.layers.3" of a tensor of layer 3; empty for others.
std::string layer_of(std::string_view name) {
  for (const std::string_view marker : {".layers.", ".h.", ".blocks.", ".block."}) {
    const size_t at = name.find(marker);
    if (at == std::string_view::npos) continue;
    const size_t begin = at + marker.size();
    const size_t end = name.find('.', begin);
    const std::string_view number = name.substr(begin, end - begin);
    const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
    if (end != std::string_view::npos && !number.empty() && std::ranges::all_of(number, is_digit)) {
      return std::string(name.substr(0, end));
    }
  }
  return "";
}

bool is_router(std::string_view name) {
  return contains(name, "router") || name.ends_with(".gate.weight") || contains(name, ".gate.wg.");
}

// A layer that has experts and no router of its own, while there are routers elsewhere.
std::string layer_without_router(const WallContext& context) {
  std::set<std::string> with_experts, with_router;
  std::string router;
  for (const TensorEntry& entry : context.facts.tensors.tensors) {
    const std::string layer = layer_of(entry.name);
    if (is_router(entry.name)) {
      if (router.empty()) router = entry.name;
      with_router.insert(layer);
    } else if (contains(entry.name, ".experts.")) {
      with_experts.insert(layer);
    }
  }
  for (const std::string& layer : with_experts) {
    if (!router.empty() && !with_router.contains(layer)) {
      return fmt::format("tensor {}, none in {}", router, layer);
    }
  }
  return "";
}

}  // namespace

void check_positions(const WallContext& context, Walls& walls) {
  if (const ConfigKey* key = context.first(says_relative)) {
    walls.push_back(
        {Level::kBlock, "alibi",
         "positions enter the scores as learned or bucketed biases: no kernel adds them",
         key->shown(),
         "this build has rotary, learned absolute and ALiBi positions: choose a model "
         "with one of them, or add the bias to the attention op (src/ops/attention)"});
  } else if (const ConfigKey* alibi = context.first(says_alibi)) {
    walls.push_back({find_op("attention") == nullptr ? context.block() : Level::kWarn, "alibi",
                     "positions by ALiBi: the attention op adds them, a rotary donor does not",
                     alibi->shown(),
                     "hand step.attend() the slopes of lockstep/nn/alibi.h, as bloom and falcon "
                     "do; begin the port from one of them"});
  } else if (const ConfigKey* rope = context.first(is_unknown_rope)) {
    walls.push_back({Level::kWarn, "alibi",
                     "a rotary scaling that lockstep/nn/rope_config.h does not read", rope->shown(),
                     rope->text() == "mrope"
                         ? "for text alone its three positions are one: read it as \"default\""
                         : "compute the frequencies in the port and give them to RotaryEmbedding"});
  }
}

void check_recurrence(const WallContext& context, Walls& walls) {
  for (const Recurrence& kind : recurrences()) {
    const std::string evidence = evidence_of(kind, context);
    if (evidence.empty()) continue;
    if (find_op(kind.op) == nullptr) {
      walls.push_back({context.block(), "ssm_or_recurrence",
                       fmt::format("layers of {}: this build has no op for it", kind.name),
                       evidence,
                       "write the op first (CONTRIBUTING.md, src/ops), with its reference loop as "
                       "the oracle; selective_scan, ssd_scan, gated_delta_rule and causal_conv are "
                       "there to begin from"});
    } else {
      walls.push_back(
          {Level::kWarn, "ssm_or_recurrence",
           fmt::format("layers of {}: op {} computes it, few donors use it", kind.name, kind.op),
           evidence,
           "begin from mamba, mamba2, qwen3_next or lfm2; read where the reference "
           "keeps its state and in which type"});
    }
    return;
  }
}

void check_shared_router(const WallContext& context, Walls& walls) {
  const ConfigKey* key = context.first([](const ConfigKey& k) {
    // "shared_expert" is of another matter.
    const bool is_shared =
        contains(k.name, "shar") || contains(k.name, "tie") || contains(k.name, "cross_layer");
    return is_shared && contains(k.name, "rout") && !contains(k.name, "expert");
  });
  std::string evidence = key == nullptr ? "" : key->shown();
  if (evidence.empty() && !context.is_complete) evidence = layer_without_router(context);
  if (evidence.empty()) return;
  walls.push_back({Level::kWarn, "shared_router",
                   "one router serves several layers: no registered architecture has that",
                   evidence,
                   "build the TopKRouter once, outside the layers, and call it from each of them: "
                   "its taps are then one a call"});
}

void check_indexer(const WallContext& context, Walls& walls) {
  const ConfigKey* key = context.first([](const ConfigKey& k) {
    return contains(k.name, "indexer") || k.name.starts_with("index_") ||
           k.name.starts_with("dsa_") || k.name.starts_with("nsa_") || k.name == "use_nsa" ||
           k.name == "use_dsa" || k.name.starts_with("moba_");
  });
  std::string evidence = key == nullptr ? "" : key->shown();
  if (evidence.empty() && !context.is_complete) evidence = context.tensor({"*indexer.*"});
  if (evidence.empty()) return;
  const double most = context.keys.number("index_topk", 0);
  walls.push_back(
      {context.block(), "indexer",
       "attention to the keys that an indexer chooses: no kernel does that", evidence,
       most > 0 ? fmt::format("up to {} tokens every key is chosen: a port with full attention "
                              "that refuses longer contexts is exact there",
                              static_cast<int64_t>(most))
                : "where every key is chosen (short contexts) full attention is exact"});
}

}  // namespace lockstep::port
