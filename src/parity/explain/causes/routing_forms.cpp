// Causes in routers and gated blocks: their formulas in the port's form, and in each form that
// ports mix it up with.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "parity/explain/causes/causes.h"
#include "parity/explain/causes/formula.h"
#include "parity/measure/activation.h"
#include "parity/measure/pattern.h"
#include "parity/measure/router.h"

namespace lockstep::parity {
namespace {

using measure::RouterForm;
using measure::Scoring;

struct RouterCall {
  Array logits, bias;
  RouterForm form;  // the port's

  // What the site holds of a routing: ids, or weights.
  Array outcome(const RouterForm& other, bool ids) const {
    const measure::Routing routing = measure::route(logits, bias, other);
    return ids ? routing.ids : routing.weights;
  }
};

std::optional<RouterCall> router_call(const Site& site) {
  const SiteStep* step = last_step(site, "router_topk");
  if (step == nullptr) return {};
  RouterCall call{
      operand_or_empty(site, *step, "logits"), operand_or_empty(site, *step, "bias"), {}};
  if (call.logits.values.empty()) return {};
  const Attrs& attrs = step->attrs;
  RouterForm& form = call.form;
  if (attrs.get_string("scoring", "softmax") == "sigmoid") form.scoring = Scoring::kSigmoid;
  if (attrs.get_string("order", "scores_first") == "topk_first") {
    form.scoring = Scoring::kChosenSoftmax;
  }
  form.top_k = attrs.get_int("top_k", 1);
  form.n_group = attrs.get_int("n_group", 1);
  form.topk_group = attrs.get_int("topk_group", 1);
  form.group_by_best = attrs.get_string("group_score", "two_best") == "best";
  form.normalise = attrs.get_int("normalise", 0) != 0;
  form.scaling = attrs.get_float("scaling", 1);
  return call;
}

template <class Change>
std::vector<Finding> with_change(const Site& site, const Change& change, const Words& reference_has,
                                 const Words& port_has) {
  const auto call = router_call(site);
  if (!call) return {};
  RouterForm other = call->form;
  change(other);
  const Array base = call->outcome(call->form, site.is_ids),
              made = call->outcome(other, site.is_ids);
  if (made.values.size() != site.port.values.size()) return {};
  return {either_way(site, base, made, reference_has, port_has)};
}

std::vector<Finding> bias_in_weights(const Site& site) {
  const auto call = router_call(site);
  if (!call || call->bias.values.empty()) return {};
  return with_change(site, [](RouterForm& f) { f.biased_weights = true; },
                     {"the reference's weights include the correction bias",
                      "add it to weights",
                      {{"bias in", "choice", "choice and weights"}}},
                     {"the port's weights include the correction bias",
                      "use the bias for the choice alone",
                      {{"bias in", "choice and weights", "choice"}}});
}

std::vector<Finding> bias_ignored(const Site& site) {
  const auto call = router_call(site);
  if (!call) return {};
  if (!call->bias.values.empty()) {
    return with_change(site, [](RouterForm& f) { f.biased_choice = false; },
                       {"the reference chooses experts without the correction bias",
                        "leave it out",
                        {{"bias in the choice", "yes", "no"}}},
                       {"the port chooses experts without the correction bias",
                        "add it",
                        {{"bias in the choice", "no", "yes"}}});
  }
  std::vector<Finding> found;
  const std::string layer = fmt::format(".{}.", site.geometry.layer);
  for (const std::string& name : site.stored_names()) {
    const bool is_bias = name.find("correction_bias") != std::string::npos ||
                         name.find("expert_bias") != std::string::npos;
    if (!is_bias || name.find(layer) == std::string::npos) continue;
    const Array* stored = site.stored(name);
    if (stored == nullptr || stored->elements() != call->logits.width()) continue;
    RouterCall with = *call;
    with.bias = *stored;
    found.push_back(with_errors(site,
                                {"the port chooses experts without " + name,
                                 "add it to the scores",
                                 {{"bias in the choice", "no", "yes"}}},
                                call->outcome(call->form, site.is_ids),
                                with.outcome(call->form, site.is_ids)));
  }
  return found;
}

std::vector<Finding> scores(const Site& site) {
  const auto call = router_call(site);
  if (!call) return {};
  std::vector<Finding> found;
  const auto name = [](Scoring s) {
    constexpr const char* kNames[] = {"softmax over all experts", "sigmoid",
                                      "softmax over the chosen", "the logits as they are"};
    return std::string(kNames[static_cast<int>(s)]);
  };
  for (const Scoring other :
       {Scoring::kSoftmax, Scoring::kSigmoid, Scoring::kChosenSoftmax, Scoring::kLogits}) {
    if (other == call->form.scoring) continue;
    const std::string own = name(call->form.scoring);
    for (Finding& f : with_change(site, [&](RouterForm& form) { form.scoring = other; },
                                  {"the router's scores are " + own + " in the port, " +
                                       name(other) + " in the reference",
                                   "use " + name(other),
                                   {{"scores", own, name(other)}}},
                                  {"the router's scores are " + name(other) + " in the port, " +
                                       own + " in the reference",
                                   "use " + own,
                                   {{"scores", name(other), own}}})) {
      found.push_back(std::move(f));
    }
  }
  return found;
}

std::vector<Finding> router_precision(const Site& site) {
  if (site.dtype != "float32") return {};
  return with_change(site, [](RouterForm& f) { f.logits_type = DType::kBFloat16; },
                     {"the reference rounds the router's logits to bfloat16",
                      "round them too",
                      {{"logits", "float32", "bfloat16"}}},
                     {"the port rounds the router's logits to bfloat16",
                      "keep them in float32",
                      {{"logits", "bfloat16", "float32"}}});
}

std::vector<Finding> relabelled(const Site& site) {
  if (!site.is_ids || site.geometry.n_experts == 0) return {};
  const Array port = reshaped(site.port, {site.reference.rows(), site.reference.width()});
  const auto labels = measure::measure_relabelling(site.reference, port, site.geometry.n_experts);
  if (!labels) return {};
  const Array made = measure::map(site.reference, [&](double id) {
    return static_cast<double>((*labels)[static_cast<size_t>(id)]);
  });
  // Experts in reverse or rolled have a name; any other order is a table of numbers.
  const auto n = static_cast<int64_t>(labels->size());
  bool is_rolled = true, is_reversed = true;
  int64_t by = -1;
  for (int64_t e = 0; e < n; ++e) {
    const int64_t to = (*labels)[static_cast<size_t>(e)];
    if (to < 0) continue;
    if (by < 0) by = (to - e + n) % n;
    is_rolled &= (to - e + n) % n == by;
    is_reversed &= to == n - 1 - e;
  }
  const std::string how = is_rolled     ? fmt::format("rolled by {}", by)
                          : is_reversed ? "in reverse"
                                        : "in an order without a name";
  return {with_errors(site,
                      {"the port's experts are the reference's " + how,
                       "keep the experts in the checkpoint's order",
                       {{"experts", how, "as stored"}},
                       0,
                       0,
                       is_rolled || is_reversed ? 0 : static_cast<int>(n)},
                      made, site.reference)};
}

// A gated block's product: f(gate) * up in another form. The site's chain ends in the product, with
// the activation before it or recorded.
std::vector<Finding> gated_forms(const Site& site) {
  const SiteStep* product = last_step(site, "elementwise");
  const SiteStep* act = site.find("activation");
  if (product == nullptr || act == nullptr || product->attrs.get_string("fn", "") != "mul")
    return {};
  const Array gate = operand_or_empty(site, *act, "x");
  Array up = operand_or_empty(site, *product, "b");
  const Operand* b = product->operand("b");
  if (b != nullptr && b->kind == Operand::Kind::kStep &&
      site.steps[static_cast<size_t>(b->step)].op == "activation") {
    up = operand_or_empty(site, *product, "a");
  }
  const size_t n = site.port.values.size();
  const auto* function = measure::find_function(act->attrs.get_string("fn", ""));
  if (function == nullptr || gate.values.size() != n || up.values.size() != n) return {};
  const measure::GatedForm base{function};
  const Array made = measure::gated(gate, up, base);
  std::vector<Finding> found;
  const auto add = [&](const measure::GatedForm& other, const std::string& what) {
    found.push_back(either_way(site, made, measure::gated(gate, up, other),
                               {"the reference's gated block is " + what,
                                "compute it so",
                                {{"block", "f(gate) * up", what}}},
                               {"the port's gated block is " + what,
                                "compute f(gate) * up",
                                {{"block", what, "f(gate) * up"}}}));
  };
  measure::GatedForm form = base;
  form.swapped = true;
  add(form, "gate * f(up)");
  form = base;
  form.ungated = true;
  add(form, "f(gate) alone");
  form = base;
  form.up_offset = 1;
  add(form, "f(gate) * (up + 1)");
  for (const double limit : {7.0, 10.0, site.config_number("swiglu_limit").value_or(7.0)}) {
    form = base;
    form.limit = limit;
    add(form, fmt::format("clamped at {}", limit));
    form.up_offset = 1;
    form.alpha = 1.702;
    add(form, fmt::format("gate * sigmoid(1.702 gate) * (up + 1), clamped at {}", limit));
  }
  for (const measure::NamedFunction& f : measure::functions()) {
    if (&f == function) continue;
    add({&f}, std::string(f.name) + "(gate) * up");
  }
  const auto best = std::ranges::min_element(
      found, {}, [](const Finding& f) { return std::max(f.port_error, f.reference_error); });
  return {*best};
}

// An activation alone, of functions that no attribute names as well.
std::vector<Finding> activation(const Site& site) {
  const SiteStep* step = last_step(site, "activation");
  if (step == nullptr) return {};
  const Array x = operand_or_empty(site, *step, "x");
  if (x.values.size() != site.port.values.size()) return {};
  Array reference = site.reference, port = site.port;
  reference.shape = port.shape = x.shape;
  const auto* right = measure::measure_function(x, {}, reference, site.bar);
  const auto* wrong = measure::measure_function(x, {}, port, site.bar);
  if (right == nullptr || wrong == nullptr || right == wrong) return {};
  return {with_errors(
      site,
      {fmt::format("activation {} in the port, {} in the reference", wrong->name, right->name),
       fmt::format("use {}", right->name),
       {{"activation", std::string(wrong->name), std::string(right->name)}}},
      measure::map(x, wrong->f), measure::map(x, right->f))};
}

}  // namespace

std::vector<Cause> routing_causes() {
  constexpr std::string_view kRouter = "router_topk", kTaps = "topk_ids topk_weights";
  return {
      {"router_bias_weights", 52, "correction bias in the weights", "", kRouter, kTaps,
       bias_in_weights},
      {"router_bias", 52, "correction bias in the choice", "", kRouter, kTaps, bias_ignored},
      {"router_scores", 51, "scores of the router", "", kRouter, kTaps, scores},
      {"router_precision", 55, "precision of the router", "", kRouter, kTaps, router_precision},
      {"router_order", 54, "order of experts", "", kRouter, kTaps, relabelled},
      {"gated_form", 49, "form of the gated block", "", "elementwise", "", gated_forms},
      {"activation", 48, "activation function", "", "activation", "", activation},
  };
}

}  // namespace lockstep::parity
