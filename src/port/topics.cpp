#include "port/topics.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <span>

#include "base/glob.h"

namespace lockstep::port {
namespace {

using nlohmann::ordered_json;
using Words = std::initializer_list<std::string_view>;

bool is_number(std::string_view part) {
  return !part.empty() && std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; });
}

std::vector<std::string_view> parts_of(std::string_view name) {
  std::vector<std::string_view> parts;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('.', begin), name.size());
    parts.push_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

bool has_any(std::string_view text, Words words) {
  return std::ranges::any_of(
      words, [&](std::string_view word) { return text.find(word) != std::string_view::npos; });
}

bool is_any(std::string_view text, Words words) {
  return std::ranges::find(words, text) != words.end();
}
bool is_any(std::string_view text, std::span<const std::string_view> words) {
  return std::ranges::find(words, text) != words.end();
}

bool is_norm(std::string_view module) {
  return has_any(module, {"norm"}) || module.starts_with("ln_") || is_any(module, {"ln"});
}

// What stands inside a block: its biases and its norms are matters of their own.
Topic inside(const char* part, const std::vector<std::string_view>& path, const char* rest) {
  const bool has_module = path.size() > 1;
  if (has_module && is_norm(path[path.size() - 2])) return {part, "norms"};
  if (path.back() == "bias") return {part, "biases"};
  return {part, rest};
}

// A tensor outside the layers.
Topic outside(std::string_view name) {
  if (has_any(name, {"lm_head", "embed_out", "output.weight"})) return {"head", "head"};
  if (has_any(name, {"embed_positions", "wpe.", "position_embedding"})) {
    return {"positions", "table"};
  }
  if (has_any(name, {"embed", "wte.", "embd"})) {
    return {has_any(name, {"norm"}) ? "norm" : "weights", "embedding"};
  }
  if (has_any(name, {"norm", "ln_f"})) return {"norm", "final norm"};
  return {"weights", "others"};
}

// A tensor of a block of experts, or nothing: its router, the experts, those that every token has.
const char* expert_aspect(const std::vector<std::string_view>& path) {
  const auto has = [&](Words words) {
    return std::ranges::any_of(path, [&](std::string_view part) { return has_any(part, words); });
  };
  if (has({"shared_expert"})) return "shared experts";
  if (has({"experts"})) return "experts";
  const bool has_gate = std::ranges::find(path, "gate") != path.end();
  return has_gate || has({"router"}) ? "router" : has({"moe"}) ? "experts" : nullptr;
}

struct KeyRule {
  const char* pattern;
  const char* part;
  const char* aspect;
};

// The first that matches.
constexpr KeyRule kKeyRules[] = {
    {"quantization_config*", "weights", "quantisation"},
    {"*softcap*final*", "head", "logits"},
    {"final_logit*", "head", "logits"},
    {"*attn*softcap*", "attention", "scores"},
    {"*logit*", "head", "logits"},
    {"*nextn*", "head", "further tokens"},
    {"*mtp*", "head", "further tokens"},
    {"tie_word_embeddings", "head", "head"},
    {"num_experts_per_tok*", "experts", "routing"},
    {"*topk*", "experts", "routing"},
    {"*router*", "experts", "routing"},
    {"routed_scaling_factor", "experts", "routing"},
    {"n_group", "experts", "routing"},
    {"scoring_func", "experts", "routing"},
    {"*shared_expert*", "experts", "shared experts"},
    {"shared_intermediate_size", "experts", "shared experts"},
    {"*expert*", "experts", "experts"},
    {"*moe*", "experts", "experts"},
    {"first_k_dense_replace", "experts", "experts"},
    {"decoder_sparse_step", "experts", "experts"},
    {"mlp_only_layers*", "experts", "experts"},
    {"*no_rope*", "positions", "layers without rotation"},
    {"*interleave*", "positions", "rotation"},
    {"*partial_rotary*", "positions", "rotation"},
    {"qk_rope_head_dim", "attention", "projections"},
    {"*rope*", "positions", "frequencies"},
    {"*rotary*", "positions", "rotation"},
    {"*alibi*", "positions", "alibi"},
    {"*position*", "positions", "table"},
    {"mamba*", "cache", "state"},
    {"ssm_*", "cache", "state"},
    {"conv_*", "cache", "state"},
    {"*conv_kernel*", "cache", "state"},
    {"linear_*", "cache", "state"},
    {"state_size", "cache", "state"},
    {"time_step_*", "cache", "state"},
    {"chunk_size", "cache", "state"},
    {"*window*", "attention", "window"},
    {"layer_types*", "attention", "window"},
    {"full_attention_interval", "attention", "window"},
    {"attention_chunk_size", "attention", "window"},
    {"*qk_norm*", "attention", "norms"},
    {"*qk_layernorm*", "attention", "norms"},
    {"*clip*", "attention", "clipping"},
    {"query_pre_attn_scalar", "attention", "scores"},
    {"attention_multiplier", "attention", "scores"},
    {"scale_attn*", "attention", "scores"},
    {"mlp_bias", "mlp", "biases"},
    {"*bias*", "attention", "biases"},
    {"*head*", "attention", "projections"},
    {"*lora_rank*", "attention", "projections"},
    {"*qkv*", "attention", "projections"},
    {"multi_query*", "attention", "projections"},
    {"*attn*", "attention", "others"},
    {"*attention*", "attention", "others"},
    {"*parallel*", "layer", "wiring"},
    {"*residual*", "layer", "wiring"},
    {"*norm_before*", "layer", "wiring"},
    {"*embed*", "layer", "embedding"},
    {"*norm*", "norm", "kind"},
    {"*eps", "norm", "kind"},
    {"*epsilon", "norm", "kind"},
    {"*act", "mlp", "activation"},
    {"*activation*", "mlp", "activation"},
    {"*intermediate*", "mlp", "projections"},
    {"*inner*", "mlp", "projections"},
    {"*ffn*", "mlp", "projections"},
    {"*mlp*", "mlp", "projections"},
};

constexpr std::array<std::string_view, 5> kAliasSets[] = {
    {"hidden_size", "n_embd", "d_model", "model_dim", "dim"},
    {"num_hidden_layers", "n_layer", "n_layers", "num_layers"},
    {"num_attention_heads", "n_head", "n_heads", "num_heads"},
    {"num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_head_kv"},
    {"intermediate_size", "n_inner", "ffn_dim", "d_ff", "ffn_hidden_size"},
    {"hidden_act", "activation_function", "hidden_activation", "activation"},
    {"rms_norm_eps", "norm_eps", "rms_eps"},
    {"layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"},
    {"num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"},
    {"num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k"},
    {"vocab_size", "n_vocab"},
};

// How far a sequence may go, and what types weights have: no part of what is computed, or read by
// the program itself.
constexpr std::string_view kLimits[] = {"max_position_embeddings",
                                        "n_positions",
                                        "n_ctx",
                                        "seq_length",
                                        "max_seq_len",
                                        "max_seq_length",
                                        "max_sequence_length",
                                        "model_max_length",
                                        "dtype",
                                        "torch_dtype"};

bool is_training(std::string_view key) {
  return has_any(key, {"dropout", "_loss", "_coef", "initializer", "jitter", "_std", "gradient",
                       "pdrop", "init_method", "use_flash", "flash_attn", "cache_implementation",
                       "fused", "aux_loss", "attn_implementation", "use_kernel"});
}

bool is_factor(std::string_view key) {
  if (key.starts_with("mscale")) return false;  // of a rotation that is scaled: 1 is a value
  return has_any(key, {"multiplier", "scale", "scaling", "factor", "alpha", "n_group", "topk_group",
                       "pretraining_tp", "decoder_sparse_step"});
}

bool all_of(const ordered_json& list, const auto& predicate) {
  return std::ranges::all_of(list, predicate);
}

bool slides(const ordered_json& config) {
  const auto types = config.find("layer_types");
  if (types == config.end() || !types->is_array()) return true;
  return std::ranges::any_of(*types,
                             [](const ordered_json& type) { return type == "sliding_attention"; });
}

int64_t int_or(const ordered_json& config, const char* key, int64_t none) {
  const auto at = config.find(key);
  return at != config.end() && at->is_number_integer() ? at->get<int64_t>() : none;
}

// Another key switches `key` off: use_x of x; no layer of the kind that a window is for.
bool is_guarded(std::string_view key, const ordered_json& config) {
  for (const auto& [guard, value] : config.items()) {
    if (!guard.starts_with("use_") || value != false) continue;
    const std::string_view what = std::string_view(guard).substr(4);
    if (key.find(what) != std::string_view::npos) return true;
    if (what == "sliding_window" && key == "max_window_layers") return true;
  }
  if (key == "no_rope_layer_interval") return config.contains("no_rope_layers");
  if (key == "sliding_window_pattern") return config.contains("layer_types");
  const bool is_window = key == "sliding_window" || key == "max_window_layers";
  if (!is_window) return false;
  const auto window = config.find("sliding_window");
  return !slides(config) || window == config.end() || window->is_null();
}

// What other keys say already.
bool is_derived(std::string_view key, const ordered_json& value, const ordered_json& config) {
  if (!value.is_number_integer()) return false;
  const auto n = value.get<int64_t>();
  const int64_t heads = int_or(config, "num_attention_heads", 0);
  if (key == "num_key_value_heads") return n == heads;
  if (key == "head_dim") {
    return (heads > 0 && n == int_or(config, "hidden_size", 0) / heads) ||
           n == int_or(config, "qk_rope_head_dim", -1);
  }
  if (key == "qk_head_dim") {
    return n == int_or(config, "qk_nope_head_dim", 0) + int_or(config, "qk_rope_head_dim", 0);
  }
  return key == "word_embed_proj_dim" && n == int_or(config, "hidden_size", 0);
}

bool is_off_list(const ordered_json& list) {
  const auto is_full = [](const ordered_json& e) {
    return e == "full_attention" || e == "attention";
  };
  return list.empty() || all_of(list, is_full);
}

}  // namespace

std::string pattern_of(std::string_view name) {
  std::string pattern;
  for (const std::string_view part : parts_of(name)) {
    if (!pattern.empty()) pattern += '.';
    pattern += is_number(part) ? "*" : part;
  }
  return pattern;
}

int layer_of(std::string_view name) {
  for (const std::string_view part : parts_of(name)) {
    if (is_number(part) && part.size() < 7) return std::stoi(std::string(part));
  }
  return -1;
}

Topic topic_of_tensor(std::string_view name) {
  const std::vector<std::string_view> all = parts_of(name);
  const auto layer = std::ranges::find_if(
      all, [](std::string_view part) { return is_number(part) || part == "*"; });
  if (layer == all.end() || layer + 1 == all.end()) return outside(name);
  const std::vector<std::string_view> path(layer + 1, all.end());
  const std::string_view block = path.front();
  if (has_any(block, {"linear_attn", "mamba", "mixer", "ssm", "conv", "delta"})) {
    return {"cache", "state"};
  }
  if (path.size() <= 2 && is_norm(block)) {
    return {"norm", path.back() == "bias" ? "biases" : "norms of a layer"};
  }
  if (is_norm(block)) return {"norm", "norms of a layer"};
  if (has_any(block, {"attn", "attention"})) return inside("attention", path, "projections");
  if (const char* aspect = expert_aspect(path)) return {"experts", aspect};
  return inside("mlp", path, "projections");
}

Topic topic_of_key(std::string_view key) {
  for (const KeyRule& rule : kKeyRules) {
    if (glob_match(rule.pattern, key)) return {rule.part, rule.aspect};
  }
  return {"config", "others"};
}

bool is_off(std::string_view key, const ordered_json& value, const ordered_json& config) {
  if (value.is_null() || value == false) return true;
  if (is_any(key, kLimits) || is_training(key)) return true;
  if (is_guarded(key, config) || is_derived(key, value, config)) return true;
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  if (value.is_object()) return value.empty();
  if (value.is_array()) {
    if (key == "no_rope_layers") {
      return all_of(value, [](const ordered_json& e) { return e == 1; });
    }
    return is_off_list(value);
  }
  return value == 0 || (value == 1 && is_factor(key));
}

bool is_structural(std::string_view key, const ordered_json& value) {
  // Layers that guess further tokens have no part in the next one's logits.
  if (has_any(key, {"nextn", "mtp"})) return false;
  if (value.is_object() || value.is_array() || value == true) return true;
  if (value.is_number() && has_any(key, {"softcap", "multiplier", "scale", "scaling", "scalar",
                                         "clip", "limit", "partial_rotary"})) {
    return true;
  }
  if (!value.is_number_integer()) return false;
  // A width that the donor lacks shows in the tensors; a count does not.
  return key.starts_with("n_") ||
         has_any(key, {"num_", "_per_", "group", "interval", "every", "layers", "heads", "experts",
                       "window", "step", "replace", "pattern", "lora_rank"});
}

std::vector<std::string_view> aliases_of(std::string_view key) {
  std::vector<std::string_view> others;
  for (const auto& set : kAliasSets) {
    if (!is_any(key, set)) continue;
    for (const std::string_view name : set) {
      if (!name.empty() && name != key) others.push_back(name);
    }
  }
  return others;
}

int order_of_part(std::string_view part) {
  constexpr std::array<std::string_view, 10> kOrder = {
      "config", "weights", "attention", "positions", "norm",
      "layer",  "mlp",     "experts",   "cache",     "head"};
  return static_cast<int>(std::ranges::find(kOrder, part) - kOrder.begin());
}

}  // namespace lockstep::port
