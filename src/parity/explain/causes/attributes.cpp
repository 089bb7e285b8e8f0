// Causes that are one constant of one op: the reference's comes from config.json or is one of the
// few that references use.
#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "parity/explain/causes/causes.h"
#include "parity/explain/causes/repair.h"

namespace lockstep::parity {
namespace {

using Choices = std::vector<AttrChoice>;

Choices texts(std::initializer_list<const char*> names) {
  Choices choices;
  for (const char* name : names) choices.push_back({std::string(name), ""});
  return choices;
}

Choices joined(Choices a, const Choices& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Choices as_integers(Choices choices) {
  for (AttrChoice& choice : choices) {
    choice.value = static_cast<int64_t>(std::get<double>(choice.value));
  }
  return choices;
}

std::vector<Finding> norm_epsilon(const Site& site) {
  const Choices choices =
      joined(config_choices(site, {"rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon",
                                   "norm_eps", "norm_epsilon", "layernorm_epsilon"}),
             {{1e-5, "usual"}, {1e-6, "usual"}, {1e-8, ""}, {1e-12, ""}, {0.0, ""}});
  std::vector<Finding> found;
  for (const char* op : {"rms_norm", "layer_norm"}) {
    for (Finding& finding : try_attr(site, op, "eps", "epsilon", choices)) {
      found.push_back(std::move(finding));
    }
  }
  return best_of(std::move(found));
}

std::vector<Finding> norm_unit_offset(const Site& site) {
  return try_attr(
      site, "rms_norm", "weight_offset", "what is added to the norm's weight",
      {{0.0, "the weight as it is stored"}, {1.0, "the reference multiplies by 1 + w"}});
}

std::vector<Finding> norm_rounding(const Site& site) {
  return try_attr(site, "rms_norm", "rounding", "where the norm rounds",
                  texts({"before_weight", "after_weight"}));
}

// Whether tables are [c0, c0, c1, c1, ...]; else they are [c0, c1, ..., c0, c1, ...].
bool has_pairs(const Array& table) {
  for (int64_t row = 0; row < table.rows(); ++row) {
    for (int64_t i = 0; i + 1 < table.width(); i += 2) {
      if (table.row(row)[i] != table.row(row)[i + 1]) return false;
    }
  }
  return true;
}

// Whether the port's style and the order of its tables belong together: else the tables are right
// and what is applied is not.
bool is_consistent(const Site& site, const SiteStep& step) {
  const Array* cos = site.operand(step, "cos");
  if (cos == nullptr || !step.attrs.has("style")) return true;
  return (step.attrs.get_string("style") == "interleaved") == has_pairs(*cos);
}

std::vector<Finding> style_of(const Site& site, bool consistent) {
  const bool all_consistent = std::ranges::all_of(site.steps, [&](const SiteStep& step) {
    return step.op != "rope" || is_consistent(site, step);
  });
  if (all_consistent != consistent) return {};
  return try_attr(site, "rope", "style", "rotary pairing",
                  texts({"half", "interleaved", "interleaved_by_half", "interleaved_to_half"}));
}

std::vector<Finding> rotation_style(const Site& site) { return style_of(site, true); }
std::vector<Finding> style_for_tables(const Site& site) { return style_of(site, false); }

// As YaRN has it: given, 0.1 m ln(s) + 1, or the ratio of two of these.
std::vector<Finding> rotation_factor(const Site& site) {
  const auto number = [&](const char* key) -> std::optional<double> {
    if (const auto value = site.config_number(std::string("rope_parameters.") + key)) return value;
    return site.config_number(std::string("rope_scaling.") + key);
  };
  Choices choices =
      joined({{1.0, "none"}},
             config_choices(site, {"rope_parameters.attention_factor",
                                   "rope_scaling.attention_factor", "rope_scaling.mscale"}));
  const std::optional<double> factor = number("factor");
  if (factor && *factor > 1) {
    const auto yarn = [&](double m) { return 0.1 * m * std::log(*factor) + 1; };
    const double m = number("mscale").value_or(1), all = number("mscale_all_dim").value_or(1);
    choices.push_back({yarn(1), "0.1 ln(factor) + 1"});
    choices.push_back({yarn(m), "0.1 mscale ln(factor) + 1"});
    choices.push_back({yarn(m) / yarn(all), "of mscale over of mscale_all_dim"});
  }
  return try_attr(site, "rotary_embedding", "attention_scaling", "factor on cosines and sines",
                  choices);
}

std::vector<Finding> table_layout(const Site& site) {
  return try_attr(site, "rotary_embedding", "layout", "layout of the rotary tables",
                  texts({"half", "interleaved"}));
}

// YaRN multiplies the scores' factor by the square of 0.1 m ln(s) + 1 where a model says so.
Choices with_yarn_factor(const Site& site, Choices choices) {
  const auto number = [&](const char* key) -> std::optional<double> {
    if (const auto value = site.config_number(std::string("rope_parameters.") + key)) return value;
    return site.config_number(std::string("rope_scaling.") + key);
  };
  const std::optional<double> factor = number("factor");
  const std::optional<double> mscale = number("mscale_all_dim");
  if (!factor || *factor <= 1) return choices;
  const double yarn = 0.1 * mscale.value_or(1) * std::log(*factor) + 1;
  const size_t n = choices.size();
  for (size_t i = 0; i < n; ++i) {
    const double scale = std::get<double>(choices[i].value);
    choices.push_back({scale * yarn * yarn, choices[i].origin + " times YaRN's factor squared"});
  }
  return choices;
}

// 1 / sqrt of every size that a scale has been taken from by mistake, and the plain factors.
Choices score_scales(const Site& site) {
  Choices choices = config_choices(site, {"attention_multiplier", "attn_scale"});
  choices.push_back({1.0, "scores are not scaled"});
  for (const auto& [key, value] : site.config_numbers()) {
    if (value < 2 || value > 65536 || value != std::floor(value)) continue;
    choices.push_back({1 / std::sqrt(value), "1 / sqrt(" + key + ")"});
  }
  const auto add_width = [&](int64_t width, const char* of) {
    if (width > 0) choices.push_back({1 / std::sqrt(static_cast<double>(width)), of});
  };
  add_width(site.geometry.head_dim, "1 / sqrt(head_dim)");
  if (site.geometry.n_heads > 0) {
    add_width(site.geometry.hidden / site.geometry.n_heads, "1 / sqrt(hidden_size / heads)");
  }
  const auto nope = site.config_number("qk_nope_head_dim");
  const auto rot = site.config_number("qk_rope_head_dim");
  if (nope && rot) {
    add_width(static_cast<int64_t>(*nope + *rot), "1 / sqrt(qk_nope_head_dim + qk_rope_head_dim)");
  }
  return with_yarn_factor(site, std::move(choices));
}

std::vector<Finding> score_scale(const Site& site) {
  constexpr double kFactor = 16;  // of the port's own
  std::vector<Finding> found;
  for (const char* op : {"attention", "latent_attention"}) {
    const SiteStep* step = site.find(op);
    if (step == nullptr) continue;
    for (Finding& f : try_attr(site, op, "scale", "factor of the scores", score_scales(site))) {
      found.push_back(std::move(f));
    }
    const double scale = step->attrs.get_float("scale");
    for (Finding& f :
         fit_attr(site, op, "scale", "factor of the scores", scale / kFactor, scale * kFactor)) {
      found.push_back(std::move(f));
    }
  }
  return found;
}

std::vector<Finding> attention_window(const Site& site) {
  Choices choices = {{int64_t{0}, "the whole context"}};
  const std::vector<AttrChoice> configured = as_integers(
      config_choices(site, {"sliding_window", "attention_window", "local_window_size"}));
  for (const AttrChoice& choice : configured) {
    choices.push_back(choice);
    const auto window = std::get<int64_t>(choice.value);
    choices.push_back({window + 1, choice.origin + " and the token itself"});
    choices.push_back({window - 1, choice.origin + " less the token itself"});
  }
  return try_attr(site, "attention", "window", "attention window", choices);
}

// Of what no config says: how far back the reference's queries see.
std::vector<Finding> measured_window(const Site& site) {
  Choices choices;
  for (int64_t window = 1; window < static_cast<int64_t>(site.ids.size()); ++window) {
    choices.push_back({window, "measured"});
  }
  constexpr size_t kMost = 256;
  if (choices.size() > kMost) choices.resize(kMost);
  std::vector<Finding> found = try_attr(site, "attention", "window", "attention window", choices);
  for (Finding& finding : found) finding.n_fitted = 1;
  return found;
}

std::vector<Finding> score_cap(const Site& site) {
  return try_attr(
      site, "attention", "soft_cap", "cap of the scores",
      joined({{0.0, "none"}}, config_choices(site, {"attn_logit_softcapping", "attn_logit_cap"})));
}

std::vector<Finding> alibi_slopes(const Site& site) {
  const SiteStep* step = site.find("attention");
  if (step == nullptr) return {};
  const auto n = static_cast<double>(site.geometry.n_heads);
  Choices choices;
  const auto add = [&](double first, const char* origin) {
    std::vector<double> slopes;
    const auto power = std::pow(2.0, std::floor(std::log2(n)));
    for (int h = 0; h < static_cast<int>(n); ++h) {
      const double base = std::pow(2.0, -8 / power), extra = std::pow(2.0, -4 / power);
      slopes.push_back(h < power ? std::pow(base, h + first)
                                 : std::pow(extra, 2 * (h - power) + 1));
    }
    choices.push_back({std::move(slopes), origin});
  };
  add(1, "powers of 2^(-8/n), from the first");
  add(0, "powers of 2^(-8/n), from the zeroth");
  return try_attr(site, "attention", "alibi_slopes", "slopes of ALiBi", choices);
}

std::vector<Finding> alibi_scale(const Site& site) {
  const SiteStep* step = site.find("attention");
  if (step == nullptr || !step->attrs.has("alibi_slopes")) return {};
  return try_attr(site, "attention", "alibi_scale", "factor of ALiBi's bias",
                  {{1.0, "the bias is not scaled"},
                   {0.0, "no bias"},
                   {step->attrs.get_float("scale"), "scaled as the scores"}});
}

std::vector<Finding> activation_function(const Site& site) {
  const Choices choices = texts(
      {"silu", "gelu", "gelu_pytorch_tanh", "quick_gelu", "relu", "relu2", "sigmoid", "tanh"});
  std::vector<Finding> found = try_attr(site, "activation", "fn", "activation", choices);
  for (Finding& f : try_attr(site, "experts", "fn", "activation of the experts", choices)) {
    found.push_back(std::move(f));
  }
  for (Finding& f : try_attr(site, "causal_conv", "fn", "activation after the convolution",
                             texts({"none", "silu"}))) {
    found.push_back(std::move(f));
  }
  return best_of(std::move(found));
}

std::vector<Finding> expert_order(const Site& site) {
  return try_attr(site, "experts", "order", "order of gate and up",
                  texts({"halves", "interleaved"}));
}

std::vector<Finding> expert_clamp(const Site& site) {
  std::vector<Finding> found =
      try_attr(site, "experts", "limit", "limit of gate and up",
               joined({{1e30, "none"}, {7.0, "usual"}}, config_choices(site, {"swiglu_limit"})));
  for (Finding& f : try_attr(site, "experts", "up_offset", "what is added to up",
                             {{0.0, "nothing"}, {1.0, "up + 1"}})) {
    found.push_back(std::move(f));
  }
  return best_of(std::move(found));
}

std::vector<Finding> router_scores(const Site& site) {
  std::vector<Finding> found =
      try_attr(site, "router_topk", "scoring", "router scores", texts({"softmax", "sigmoid"}));
  for (Finding& f : try_attr(site, "router_topk", "order", "softmax and choice of experts",
                             texts({"scores_first", "topk_first"}))) {
    found.push_back(std::move(f));
  }
  return best_of(std::move(found));
}

std::vector<Finding> router_normalisation(const Site& site) {
  return try_attr(site, "router_topk", "normalise", "weights divided by their sum",
                  {{int64_t{0}, "no"}, {int64_t{1}, "yes"}});
}

std::vector<Finding> router_factor(const Site& site) {
  const Choices choices =
      joined({{1.0, "none"}}, config_choices(site, {"routed_scaling_factor", "router_scaling"}));
  std::vector<Finding> found =
      try_attr(site, "router_topk", "scaling", "factor of the routed weights", choices);
  if (site.find("router_topk") != nullptr) {
    for (Finding& f :
         fit_attr(site, "router_topk", "scaling", "factor of the routed weights", 1e-2, 1e2)) {
      found.push_back(std::move(f));
    }
  }
  return found;
}

std::vector<Finding> router_groups(const Site& site) {
  std::vector<Finding> found =
      try_attr(site, "router_topk", "n_group", "groups of experts",
               joined({{int64_t{1}, "none"}}, as_integers(config_choices(site, {"n_group"}))));
  const auto add = [&](std::vector<Finding> more) {
    for (Finding& f : more) found.push_back(std::move(f));
  };
  add(try_attr(site, "router_topk", "topk_group", "groups that are chosen from",
               joined({{int64_t{1}, "none"}}, as_integers(config_choices(site, {"topk_group"})))));
  add(try_attr(site, "router_topk", "group_score", "score of a group",
               texts({"two_best", "best"})));
  return best_of(std::move(found));
}

std::vector<Finding> router_count(const Site& site) {
  return try_attr(site, "router_topk", "top_k", "experts a token",
                  as_integers(config_choices(
                      site, {"num_experts_per_tok", "num_experts_per_token", "moe_top_k"})));
}

std::vector<Finding> step_limits(const Site& site) {
  const Choices limits =
      joined({{0.0, "none"}, {1e30, "none"}},
             config_choices(site, {"time_step_limit.0", "time_step_limit.1", "time_step_min",
                                   "time_step_max", "time_step_floor"}));
  std::vector<Finding> found = try_attr(site, "ssd_scan", "dt_max", "largest time step", limits);
  for (Finding& f : try_attr(site, "ssd_scan", "dt_min", "least time step", limits)) {
    found.push_back(std::move(f));
  }
  return best_of(std::move(found));
}

std::vector<Finding> sign_of_sum(const Site& site) {
  return try_attr(site, "elementwise", "fn", "how two values are joined",
                  texts({"add", "sub", "mul"}));
}

std::vector<Finding> constant_factor(const Site& site) {
  const SiteStep* step = nullptr;
  for (const SiteStep& other : site.steps) {
    if (other.op == "elementwise" && other.attrs.has("factor")) step = &other;
  }
  if (step == nullptr) return {};
  Choices choices = {{1.0, "no factor"}};
  for (const auto& [key, value] : site.config_numbers()) {
    if (value <= 0) continue;
    choices.push_back({value, "config.json: " + key});
    choices.push_back({1 / value, "1 / " + key});
    choices.push_back({std::sqrt(value), "sqrt(" + key + ")"});
  }
  return try_attr(site, "elementwise", "factor", "factor", choices);
}

}  // namespace

std::vector<Cause> attribute_causes() {
  return {
      {"norm_epsilon", 35, "epsilon of the norm", "", "rms_norm layer_norm", "", norm_epsilon},
      {"norm_unit_offset", 34, "1 + w in the norm", "", "rms_norm", "", norm_unit_offset},
      {"norm_rounding", 37, "where the norm rounds", "", "rms_norm", "", norm_rounding},
      {"rotation_style", 1, "pairing of the rotation", "", "rope", "q_rot k_rot", rotation_style},
      {"rotary_table_layout", 8, "layout of the rotary tables", "", "rope", "q_rot k_rot",
       style_for_tables},
      {"rotation_factor", 13, "attention factor on the rotary tables", "", "rotary_embedding",
       "rotary_emb", rotation_factor},
      {"rotary_table_layout", 8, "layout of the rotary tables", "", "rotary_embedding",
       "rotary_emb", table_layout},
      {"score_scale", 15, "factor of the scores", "", "attention latent_attention",
       "q_rot k_rot scores", score_scale},
      {"attention_window", 23, "attention window", "", "attention", "scores", attention_window},
      {"attention_window", 23, "attention window", "", "attention", "scores", measured_window},
      {"score_cap", 24, "cap of the scores", "", "attention", "scores", score_cap},
      {"alibi_slopes", 18, "slopes of ALiBi", "", "attention", "scores", alibi_slopes},
      {"alibi_scale", 18, "factor of ALiBi's bias", "", "attention", "scores", alibi_scale},
      {"activation", 48, "activation function", "", "activation experts causal_conv", "",
       activation_function},
      {"expert_order", 47, "order of gate and up", "", "experts", "", expert_order},
      {"expert_clamp", 49, "clamp and offset of gate and up", "", "experts", "", expert_clamp},
      {"router_scores", 51, "scores of the router", "", "router_topk", "topk_ids topk_weights",
       router_scores},
      {"router_normalisation", 51, "normalisation of the routed weights", "", "router_topk",
       "topk_weights", router_normalisation},
      {"router_factor", 53, "factor of the routed weights", "", "router_topk", "topk_weights",
       router_factor},
      {"router_groups", 53, "groups of experts", "", "router_topk", "topk_ids", router_groups},
      {"router_count", 53, "number of experts", "", "router_topk", "topk_ids", router_count},
      {"step_limits", 65, "limits of the time step", "", "ssd_scan", "", step_limits},
      {"sign_of_sum", 39, "how two values are joined", "", "elementwise", "", sign_of_sum},
      {"constant_factor", 41, "constant factor", "", "elementwise", "", constant_factor},
  };
}

}  // namespace lockstep::parity
