// Causes in what runs along the tokens: convolutions, state-space scans, the delta rule, and the
// states that they keep.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "parity/explain/causes/causes.h"
#include "parity/explain/causes/formula.h"
#include "parity/measure/rounding.h"
#include "parity/measure/scan.h"

namespace lockstep::parity {
namespace {

using measure::ConvForm;
using measure::Decay;
using measure::OldState;
using measure::ScanForm;

// The op's step, if the site's value is of it or of the state that it leaves.
const SiteStep* state_step(const Site& site, std::string_view op) {
  const SiteStep* step = last_step(site, op);
  if (step != nullptr || last_step(site, "gather_rows") == nullptr) return step;
  return site.find(op);
}

// The first slot's state, [...]; empty where the sequence begins.
Array state_of(const Site& site, const SiteStep& step) {
  if (site.geometry.first_position == 0) return {};
  Array state = operand_or_empty(site, step, "state");
  if (state.rank() < 2 || state.dim(0) < 1) return {};
  const int64_t n = state.elements() / state.dim(0);
  state.shape.erase(state.shape.begin());
  state.values.resize(static_cast<size_t>(n));
  return state;
}

using Outcome = std::function<measure::ScanOutcome(const ScanForm&)>;

// The type that all of its values fit: a changed one is rounded to it as well.
DType stored_type(const Array& values) {
  const bool is_narrow = std::ranges::all_of(
      values.values, [](double x) { return measure::rounded(x, DType::kBFloat16) == x; });
  return is_narrow ? DType::kBFloat16 : DType::kFloat32;
}

std::optional<Outcome> delta_rule_of(const Site& site, ScanForm& own) {
  const SiteStep* step = state_step(site, "gated_delta_rule");
  if (step == nullptr) return {};
  const auto take = [&](const char* role) { return operand_or_empty(site, *step, role); };
  measure::DeltaRuleInputs in{take("q"),    take("k"),     take("v"),       take("a"),
                              take("beta"), take("A_log"), take("dt_bias"), state_of(site, *step)};
  if (in.q.rank() != 3 || in.k.rank() != 3 || in.v.rank() != 3) return {};
  own.rate_type = stored_type(in.a_log);
  return [in](const ScanForm& form) {
    measure::DeltaRuleForm with;
    static_cast<ScanForm&>(with) = form;
    return measure::delta_rule(in, with);
  };
}

// x [T, C] of Mamba's first scan, as heads of width 1; B and C are one group.
Array as_heads(Array a, bool is_group) {
  if (a.rank() != 2) return a;
  a.shape = is_group ? std::vector<int64_t>{a.dim(0), 1, a.dim(1)}
                     : std::vector<int64_t>{a.dim(0), a.dim(1), 1};
  return a;
}

enum class Operands : uint8_t { kOwn, kExchanged };  // B and C, or q and k

std::optional<Outcome> scan_of(const Site& site, ScanForm& own,
                               Operands operands = Operands::kOwn) {
  const SiteStep* step = state_step(site, "ssd_scan");
  if (step == nullptr) step = state_step(site, "selective_scan");
  if (step == nullptr) return operands == Operands::kOwn ? delta_rule_of(site, own) : std::nullopt;
  const auto take = [&](const char* role) { return operand_or_empty(site, *step, role); };
  measure::ScanInputs in{as_heads(take("x"), false),
                         as_heads(take("B"), true),
                         as_heads(take("C"), true),
                         take("dt"),
                         take("A_log"),
                         take("D"),
                         take("dt_bias"),
                         state_of(site, *step)};
  if (in.x.rank() != 3 || in.b.rank() != 3 || in.c.rank() != 3 || in.d.values.empty()) return {};
  if (operands == Operands::kExchanged) std::swap(in.b, in.c);
  own.rate_type = stored_type(in.a_log);
  own.dt_min = step->attrs.get_float("dt_min", 0);
  own.dt_max = step->attrs.get_float("dt_max", 0);
  if (!std::isfinite(own.dt_max)) own.dt_max = 0;
  return [in](const ScanForm& form) { return measure::scan(in, form); };
}

// Of the outcomes that are as long as the site's value the one that a side has.
const Array* value_of(const Site& site, const measure::ScanOutcome& outcome) {
  const Array* best = nullptr;
  double least = INFINITY;
  for (const Array* value : {&outcome.y, &outcome.delta, &outcome.state}) {
    if (value->elements() != site.port.elements()) continue;
    const double d = std::min(distance(*value, site.port), distance(*value, site.reference));
    if (best == nullptr || d < least) {
      best = value;
      least = d;
    }
  }
  return best;
}

template <class Change>
std::vector<Finding> changed_scan(const Site& site, const Change& change, const std::string& what,
                                  const std::string& instead) {
  ScanForm own;
  const auto outcome = scan_of(site, own);
  if (!outcome) return {};
  ScanForm other = own;
  change(other);
  const measure::ScanOutcome base = (*outcome)(own), made = (*outcome)(other);
  const Array* value = value_of(site, base);
  if (value == nullptr) return {};
  const Array& same = value == &base.y ? made.y : value == &base.delta ? made.delta : made.state;
  return {either_way(site, *value, same,
                     {"the reference's scan has " + what + ", the port's " + instead,
                      "compute it as the reference",
                      {{"scan", instead, what}}},
                     {"the port's scan has " + what + ", the reference's " + instead,
                      "compute " + instead,
                      {{"scan", what, instead}}})};
}

void append(std::vector<Finding>& to, std::vector<Finding> more) {
  for (Finding& finding : more) to.push_back(std::move(finding));
}

std::vector<Finding> step_bias(const Site& site) {
  std::vector<Finding> found;
  for (const double times : {0.0, 2.0, -1.0}) {
    append(found, changed_scan(
                      site, [&](ScanForm& f) { f.bias_times = times; },
                      fmt::format("{} times the bias of dt", times), "the bias once"));
  }
  append(found,
         changed_scan(
             site, [](ScanForm& f) { f.softplus = false; }, "dt as it is", "softplus of dt"));
  return best_finding(std::move(found));
}

std::vector<Finding> step_bounds(const Site& site) {
  ScanForm own;
  if (!scan_of(site, own) || (own.dt_min == 0 && own.dt_max == 0)) return {};
  return changed_scan(
      site, [](ScanForm& f) { f.clamp = false; }, "no bounds of dt", "dt's bounds");
}

std::vector<Finding> skip(const Site& site) {
  return changed_scan(
      site, [](ScanForm& f) { f.skip_times = 0; }, "no D x", "D x added");
}

std::vector<Finding> decay(const Site& site) {
  std::vector<Finding> found;
  const auto add = [&](Decay decay, const std::string& what) {
    append(found,
           changed_scan(
               site, [&](ScanForm& f) { f.decay = decay; }, "a decay of " + what, "-exp(A_log)"));
  };
  add(Decay::kTwice, "-2 exp(A_log)");
  add(Decay::kRaw, "-A_log");
  add(Decay::kGrowing, "exp(A_log)");
  return best_finding(std::move(found));
}

std::vector<Finding> old_state(const Site& site) {
  if (site.geometry.first_position == 0) return {};
  std::vector<Finding> found;
  const auto add = [&](OldState state, const std::string& what) {
    append(found, changed_scan(
                      site, [&](ScanForm& f) { f.old_state = state; }, what,
                      "the state of the tokens before"));
  };
  add(OldState::kNone, "an empty state");
  add(OldState::kHalf, "half the state");
  add(OldState::kBFloat16, "the state in bfloat16");
  return best_finding(std::move(found));
}

// B and C stand for each other.
std::vector<Finding> exchanged(const Site& site) {
  ScanForm own;
  const auto right = scan_of(site, own), wrong = scan_of(site, own, Operands::kExchanged);
  if (!right || !wrong) return {};
  const measure::ScanOutcome base = (*right)(own), made = (*wrong)(own);
  const Array* value = value_of(site, base);
  if (value == nullptr || value == &base.delta || made.y.elements() != base.y.elements()) return {};
  const Array& same = value == &base.y ? made.y : made.state;
  const Words words{"B and C of the scan stand for each other",
                    "give each its own",
                    {{"B and C", "exchanged", "in order"}}};
  return {either_way(site, *value, same, words, words)};
}

struct ConvCall {
  Array x, weight, bias, state;
  ConvForm form;  // the port's
  Array outcome(const ConvForm& other) const {
    return measure::causal_conv(x, weight, bias, state, other);
  }
};

std::optional<ConvCall> conv_call(const Site& site) {
  const SiteStep* step = last_step(site, "causal_conv");
  if (step == nullptr) return {};
  ConvCall call{operand_or_empty(site, *step, "x"),
                operand_or_empty(site, *step, "weight"),
                operand_or_empty(site, *step, "bias"),
                state_of(site, *step),
                {}};
  if (call.x.elements() != site.port.elements() || call.weight.values.empty()) return {};
  call.form.silu = step->attrs.get_string("fn", "none") == "silu";
  return call;
}

template <class Change>
std::vector<Finding> changed_conv(const Site& site, const Change& change, const std::string& what,
                                  const std::string& instead) {
  const auto call = conv_call(site);
  if (!call) return {};
  ConvForm other = call->form;
  change(other);
  return {either_way(site, call->outcome(call->form), call->outcome(other),
                     {"the reference's convolution has " + what + ", the port's " + instead,
                      "convolve as the reference",
                      {{"convolution", instead, what}}},
                     {"the port's convolution has " + what + ", the reference's " + instead,
                      "convolve with " + instead,
                      {{"convolution", what, instead}}})};
}

std::vector<Finding> conv_taps(const Site& site) {
  std::vector<Finding> found = changed_conv(
      site, [](ConvForm& f) { f.taps = measure::Taps::kReversed; }, "its taps in reverse",
      "its taps as stored");
  append(found, changed_conv(
                    site, [](ConvForm& f) { f.taps = measure::Taps::kOneBack; },
                    "its taps one token further back", "its taps as stored"));
  return best_finding(std::move(found));
}

std::vector<Finding> conv_state(const Site& site) {
  if (site.geometry.first_position == 0) return {};
  std::vector<Finding> found = changed_conv(
      site, [](ConvForm& f) { f.old_state = OldState::kNone; }, "an empty state",
      "the state of the tokens before");
  for (const int64_t by : {-1, 1}) {
    append(found, changed_conv(
                      site, [&](ConvForm& f) { f.state_shift = by; },
                      "a state that is one token off", "the state of the tokens before"));
  }
  return best_finding(std::move(found));
}

std::vector<Finding> conv_bias(const Site& site) {
  const auto call = conv_call(site);
  const SiteStep* step = last_step(site, "causal_conv");
  if (!call || step == nullptr) return {};
  if (!call->bias.values.empty()) {
    return changed_conv(
        site, [](ConvForm& f) { f.biased = false; }, "no bias", "its bias");
  }
  const Operand* weight = step->operand("weight");
  if (weight == nullptr || !weight->name.ends_with("weight")) return {};
  const std::string name = weight->name.substr(0, weight->name.size() - 6) + "bias";
  const Array* stored = site.stored(name);
  if (stored == nullptr || stored->elements() != call->x.width()) return {};
  ConvCall with = *call;
  with.bias = *stored;
  return {with_errors(site,
                      {"the port's convolution leaves out the bias " + name,
                       "add " + name,
                       {{"bias", "none", name}}},
                      call->outcome(call->form), with.outcome(call->form))};
}

}  // namespace

std::vector<Cause> state_causes() {
  constexpr std::string_view kScans = "selective_scan ssd_scan gated_delta_rule";
  constexpr std::string_view kConv = "causal_conv", kTaps = "scan dt context";
  return {
      {"scan_terms", 65, "bias and softplus of dt", "", kScans, kTaps, step_bias},
      {"step_limits", 65, "limits of the time step", "", kScans, kTaps, step_bounds},
      {"scan_terms", 65, "skip of the scan", "", kScans, kTaps, skip},
      {"scan_terms", 65, "decay of the scan", "", kScans, kTaps, decay},
      {"recurrent_state", 64, "state of the scan", "", kScans, kTaps, old_state},
      {"exchanged_inputs", 28, "B and C of a scan", "", kScans, kTaps, exchanged},
      {"convolution_taps", 64, "taps of the convolution", "", kConv, "", conv_taps},
      {"recurrent_state", 64, "state of the convolution", "", kConv, "", conv_state},
      {"projection_bias", 30, "bias of the convolution", "", kConv, "", conv_bias},
  };
}

}  // namespace lockstep::parity
