// Causes in norms: the formula of the port's form, and of each form that ports mix it up with.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "parity/explain/causes/causes.h"
#include "parity/explain/causes/formula.h"
#include "parity/measure/norm.h"
#include "parity/measure/pattern.h"
#include "parity/measure/rotation.h"
#include "parity/measure/rounding.h"

namespace lockstep::parity {
namespace {

using measure::Centre;
using measure::Epsilon;
using measure::NormForm;
using measure::Squares;

struct NormCall {
  Array x, weight, bias;
  NormForm form;  // the port's
  Array port() const { return measure::norm(x, weight, bias, form); }
};

std::optional<NormCall> norm_call(const Site& site) {
  NormCall call;
  const SiteStep* step = last_step(site, "rms_norm");
  if (step == nullptr) {
    step = last_step(site, "layer_norm");
    call.form.centre = Centre::kMean;
  }
  if (step == nullptr) return {};
  call.x = operand_or_empty(site, *step, "x");
  call.weight = operand_or_empty(site, *step, "weight");
  call.bias = operand_or_empty(site, *step, "bias");
  if (call.x.elements() != site.port.elements() || call.x.values.empty()) return {};
  call.form.eps = step->attrs.get_float("eps", 1e-6);
  call.form.weight_offset = step->attrs.get_float("weight_offset", 0);
  return call;
}

std::vector<Finding> epsilon(const Site& site) {
  const auto call = norm_call(site);
  if (!call) return {};
  const auto eps = measure::measure_epsilon(call->x, site.reference, call->weight, call->bias,
                                            call->form, site.bar);
  if (!eps) return {};
  NormForm right = call->form;
  right.eps = eps->eps;
  const std::string key = config_key_of(site, eps->eps, 1e-3);
  const bool is_usual =
      std::ranges::any_of(std::initializer_list<double>{1e-5, 1e-6, 1e-8, 1e-12},
                          [&](double e) { return std::abs(e - eps->eps) <= eps->error; });
  return {with_errors(site,
                      {fmt::format("epsilon {} in the port, {} +- {:.1g} in the reference{}",
                                   number_text(call->form.eps), number_text(eps->eps), eps->error,
                                   key.empty() ? "" : " (config.json: " + key + ")"),
                       fmt::format("give the norm the epsilon {}", number_text(eps->eps)),
                       {{"epsilon", number_text(call->form.eps), number_text(eps->eps)}},
                       0,
                       0,
                       key.empty() && !is_usual ? 1 : 0},
                      call->port(), measure::norm(call->x, call->weight, call->bias, right))};
}

// Another form of the norm, said for both directions.
std::vector<Finding> other_form(const Site& site, const NormForm& form, const Words& reference_has,
                                const Words& port_has) {
  const auto call = norm_call(site);
  if (!call) return {};
  return {either_way(site, call->port(), measure::norm(call->x, call->weight, call->bias, form),
                     reference_has, port_has)};
}

std::vector<Finding> unit_offset(const Site& site) {
  const auto call = norm_call(site);
  if (!call) return {};
  NormForm form = call->form;
  form.weight_offset = form.weight_offset == 0 ? 1 : 0;
  const std::string port = form.weight_offset == 1 ? "w" : "1 + w";
  const std::string reference = form.weight_offset == 1 ? "1 + w" : "w";
  return other_form(site, form,
                    {"the port multiplies by " + port + ", the reference by " + reference,
                     "weight_offset " + number_text(form.weight_offset),
                     {{"multiplied by", port, reference}}},
                    {"the port multiplies by " + reference + ", the reference by " + port,
                     "weight_offset " + number_text(call->form.weight_offset),
                     {{"multiplied by", reference, port}}});
}

std::vector<Finding> centring(const Site& site) {
  const auto call = norm_call(site);
  if (!call) return {};
  NormForm form = call->form;
  const bool is_layer = form.centre == Centre::kMean;
  form.centre = is_layer ? Centre::kNone : Centre::kMean;
  const Words to_rms{"the port subtracts the mean (LayerNorm), the reference does not (RMSNorm)",
                     "use RMSNorm",
                     {{"norm", "LayerNorm", "RMSNorm"}}};
  const Words to_layer{"the port does not subtract the mean (RMSNorm), the reference does",
                       "use LayerNorm",
                       {{"norm", "RMSNorm", "LayerNorm"}}};
  return other_form(site, form, is_layer ? to_rms : to_layer, is_layer ? to_layer : to_rms);
}

std::vector<Finding> epsilon_place(const Site& site) {
  const auto call = norm_call(site);
  if (!call) return {};
  NormForm form = call->form;
  form.epsilon = Epsilon::kOutside;
  return other_form(site, form,
                    {"the reference adds epsilon to the root, the port below it",
                     "x / (sqrt(mean(x^2)) + eps)",
                     {{"epsilon", "inside", "outside"}}},
                    {"the port adds epsilon to the root, the reference below it",
                     "x / sqrt(mean(x^2) + eps)",
                     {{"epsilon", "outside", "inside"}}});
}

std::vector<Finding> squares(const Site& site) {
  const auto call = norm_call(site);
  if (!call) return {};
  std::vector<Finding> found;
  for (const Squares other : {Squares::kSum, Squares::kUnbiased}) {
    const std::string name = other == Squares::kSum ? "sum" : "sum over width - 1";
    NormForm form = call->form;
    form.squares = other;
    for (Finding& f : other_form(site, form,
                                 {"the reference takes the " + name +
                                      " of squares, the port their "
                                      "mean",
                                  "divide by the root of the " + name + " of squares",
                                  {{"squares", "mean", name}}},
                                 {"the port takes the " + name +
                                      " of squares, the reference their "
                                      "mean",
                                  "divide by the root of the mean of squares",
                                  {{"squares", name, "mean"}}})) {
      found.push_back(std::move(f));
    }
  }
  return found;
}

// The weight, or the bias, on one side alone.
std::vector<Finding> weight_missing(const Site& site) {
  const auto call = norm_call(site);
  if (!call) return {};
  NormForm plain = call->form;
  plain.weight_offset = 0;
  return {either_way(site, call->port(), measure::norm(call->x, {}, call->bias, plain),
                     {"the reference does not multiply by the norm's weight",
                      "leave the weight out",
                      {{"weight", "multiplied", "none"}}},
                     {"the port does not multiply by the norm's weight",
                      "multiply by the weight",
                      {{"weight", "none", "multiplied"}}})};
}

std::vector<Finding> bias(const Site& site) {
  const auto call = norm_call(site);
  const SiteStep* step = last_step(site, "layer_norm");
  if (!call || step == nullptr) return {};
  if (!call->bias.values.empty()) {
    return {
        either_way(site, call->port(), measure::norm(call->x, call->weight, {}, call->form),
                   {"the port adds the norm's bias, the reference does not",
                    "leave it out",
                    {{"bias", "added", "none"}}},
                   {"the port leaves out the norm's bias", "add it", {{"bias", "none", "added"}}})};
  }
  const Operand* weight = step->operand("weight");
  if (weight == nullptr || !weight->name.ends_with("weight")) return {};
  const std::string name = weight->name.substr(0, weight->name.size() - 6) + "bias";
  const Array* stored = site.stored(name);
  if (stored == nullptr || stored->width() != call->x.width()) return {};
  return {with_errors(
      site, {"the port leaves out the norm's bias", "add " + name, {{"bias", "none", "added"}}},
      call->port(), measure::norm(call->x, call->weight, *stored, call->form))};
}

std::vector<Finding> missing(const Site& site) {
  const auto call = norm_call(site);
  if (!call) return {};
  return {either_way(
      site, call->port(), call->x,
      {"the reference does not norm here", "leave this norm out", {{"norm", "yes", "no"}}},
      {"the port does not norm here", "apply the norm", {{"norm", "no", "yes"}}})};
}

// Over all heads of a token together, or each alone.
std::vector<Finding> width(const Site& site) {
  const auto call = norm_call(site);
  if (!call || call->weight.rows() != 1) return {};
  std::vector<Finding> found;
  const int64_t own = call->x.width();
  const int64_t token = site.geometry.n_tokens;
  std::vector<int64_t> widths = {site.geometry.head_dim};
  if (token > 0) widths.push_back(call->x.elements() / token);
  for (const int64_t other : widths) {
    if (other < 2 || other == own || call->x.elements() % other != 0) continue;
    if (std::max(other, own) % std::min(other, own) != 0) continue;
    // Normed over the other width without a weight, then multiplied by this width's.
    Array x = call->x;
    x.shape = {x.elements() / other, other};
    Array y = measure::norm(x, {}, {}, call->form);
    y.shape = call->x.shape;
    for (int64_t r = 0; r < y.rows(); ++r) {
      for (int64_t c = 0; c < own; ++c) {
        measure::at(y, r, c) *=
            call->weight.values[static_cast<size_t>(c)] + call->form.weight_offset;
      }
    }
    found.push_back(either_way(
        site, call->port(), y,
        {fmt::format("the port norms over {} channels, the reference over {}", own, other),
         fmt::format("norm over {} channels", other),
         {{"norm over", std::to_string(own), std::to_string(other)}}},
        {fmt::format("the port norms over {} channels, the reference over {}", other, own),
         fmt::format("norm over {} channels", own),
         {{"norm over", std::to_string(other), std::to_string(own)}}}));
  }
  return found;
}

// The port norms what it has turned, the reference turns what it has normed.
std::vector<Finding> order(const Site& site) {
  const auto call = norm_call(site);
  if (!call) return {};
  const SiteStep& step = site.steps.back();
  const Operand* x = step.operand("x");
  if (x == nullptr || x->kind != Operand::Kind::kStep) return {};
  const SiteStep& turn = site.steps[static_cast<size_t>(x->step)];
  if (turn.op != "rope") return {};
  NormCall before = *call;
  before.x = operand_or_empty(site, turn, "x");
  const std::vector<double> positions(site.positions.begin(), site.positions.end());
  if (before.x.rank() != 3 || call->x.elements() != before.x.elements()) return {};
  const auto rotation =
      measure::measure_rotation(before.x, reshaped(call->x, before.x.shape), positions, site.bar);
  if (!rotation || rotation->width == 0) return {};
  return {with_errors(site,
                      {"the port norms after the rotation, the reference before it",
                       "norm queries and keys, then rotate them",
                       {{"order", "rotation, norm", "norm, rotation"}}},
                      call->port(), measure::rotate(before.port(), positions, *rotation))};
}

// Rounded to bfloat16 on the way, in a run whose values are float32.
std::vector<Finding> early_rounding(const Site& site) {
  const auto call = norm_call(site);
  if (!call || site.dtype != "float32") return {};
  const auto narrow = [](Array a) { return measure::rounded(std::move(a), DType::kBFloat16); };
  NormCall weights = *call;
  for (double& w : weights.weight.values) {
    w = measure::rounded(w + call->form.weight_offset, DType::kBFloat16) - call->form.weight_offset;
  }
  NormCall inputs = *call;
  inputs.x = narrow(inputs.x);
  const auto words = [](const std::string& what) {
    return std::pair<Words, Words>{
        {"the reference rounds " + what + " to bfloat16, the port does not",
         "round there too",
         {{what, "float32", "bfloat16"}}},
        {"the port rounds " + what + " to bfloat16, the reference does not",
         "keep it in float32",
         {{what, "bfloat16", "float32"}}}};
  };
  std::vector<Finding> found;
  const auto add = [&](const Array& other, const std::string& what) {
    const auto [forth, back] = words(what);
    found.push_back(either_way(site, call->port(), other, forth, back));
  };
  add(narrow(call->port()), "the norm's outcome");
  add(weights.port(), "the norm's weight");
  add(inputs.port(), "the norm's input");
  return found;
}

}  // namespace

std::vector<Cause> norm_causes() {
  constexpr std::string_view kOps = "rms_norm layer_norm";
  return {
      {"norm_epsilon", 35, "epsilon of the norm", "", kOps, "", epsilon},
      {"norm_unit_offset", 34, "1 + w in the norm", "", kOps, "", unit_offset},
      {"norm_centring", 36, "mean subtracted or not", "", kOps, "", centring},
      {"norm_epsilon_place", 35, "place of the norm's epsilon", "", kOps, "", epsilon_place},
      {"norm_squares", 35, "mean or sum of squares", "", kOps, "", squares},
      {"norm_weight_missing", 34, "weight of the norm", "", kOps, "", weight_missing},
      {"norm_bias", 30, "bias of the norm", "", "layer_norm", "", bias},
      {"norm_skipped", 38, "norm on one side alone", "", kOps, "", missing},
      {"norm_order", 33, "order of norm and rotation", "", kOps, "", order},
      {"norm_width", 33, "channels that the norm is over", "", kOps, "", width},
      {"norm_rounding", 37, "where the norm rounds", "", kOps, "", early_rounding},
  };
}

}  // namespace lockstep::parity
