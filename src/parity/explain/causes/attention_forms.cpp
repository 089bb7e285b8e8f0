// Causes in attention: its formula on the reference's queries, keys and values, in the port's form
// and in each form that ports mix it up with.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "parity/explain/causes/attention_call.h"
#include "parity/explain/causes/causes.h"

namespace lockstep::parity {
namespace {

using measure::AttentionForm;

template <class Change>
std::vector<Finding> with_change(const Site& site, const Change& change, const Words& reference_has,
                                 const Words& port_has) {
  return changed_attention(
      site, [&](AttentionCall& call) { change(call.form); }, reference_has, port_has);
}

std::vector<Finding> head_map(const Site& site) {
  const auto call = attention_call(site);
  if (!call || call->in.k.dim(1) == 1) return {};
  const auto read = measure::read_head_map(call->in, site.reference, site.bar);
  const auto of_port = measure::read_head_map(call->in, site.port, site.bar);
  if (!read || !of_port || *read == *of_port) return {};
  AttentionForm right = call->form, wrong = call->form;
  right.map = *read;
  wrong.map = *of_port;
  const int64_t heads = call->in.q.dim(1), kv_heads = call->in.k.dim(1);
  const auto name = [&](const std::vector<int64_t>& map) -> std::string {
    if (map == measure::repeated_heads(heads, kv_heads)) return "repeated";
    if (map == measure::tiled_heads(heads, kv_heads)) return "tiled";
    return fmt::format("[{}]", fmt::join(map, " "));
  };
  const bool has_names = name(*read)[0] != '[' && name(*of_port)[0] != '[';
  return {with_errors(
      site,
      {fmt::format("query heads read key and value heads {} in the port, {} in the reference",
                   name(*of_port), name(*read)),
       "let query head h read key and value head h / (heads / kv_heads)",
       {{"key and value head of each query head", name(*of_port), name(*read)}},
       0,
       0,
       has_names ? 0 : 1},
      measure::attend(call->in, wrong), measure::attend(call->in, right))};
}

// How far after itself a query sees, from few keys to all; the best of them. A single query has
// none after it.
std::vector<Finding> causal_mask(const Site& site) {
  const int64_t n = site.geometry.n_tokens;
  if (n < 2) return {};
  std::vector<int64_t> aheads = {-1, measure::kNoMask};
  for (int64_t ahead = 1; ahead < std::min<int64_t>(n - 1, 16); ++ahead) aheads.push_back(ahead);
  std::vector<Finding> found;
  for (const int64_t ahead : aheads) {
    const std::string sees = ahead < 0 ? "the keys before their own alone"
                             : ahead == measure::kNoMask
                                 ? "all keys"
                                 : fmt::format("{} keys after their own", ahead);
    for (Finding& f : with_change(site, [&](AttentionForm& form) { form.ahead = ahead; },
                                  {"queries of the reference see " + sees +
                                       ", those of the port the keys up to their "
                                       "own",
                                   "use the reference's mask",
                                   {{"keys seen", "up to their own", sees}}},
                                  {"queries of the port see " + sees +
                                       ", those of the reference the keys up to their "
                                       "own",
                                   "mask the keys after the query",
                                   {{"keys seen", sees, "up to their own"}}})) {
      found.push_back(std::move(f));
    }
  }
  return best_finding(std::move(found));
}

std::vector<Finding> sinks(const Site& site) {
  const auto call = attention_call(site);
  if (!call) return {};
  if (!call->form.sinks.empty()) {
    return with_change(
        site, [](AttentionForm& form) { form.sinks.clear(); },
        {"the reference has no sinks", "leave the sinks out", {{"sinks", "yes", "none"}}},
        {"the port leaves out the attention sinks", "pass the sinks", {{"sinks", "none", "yes"}}});
  }
  std::vector<Finding> found;
  const std::string layer = fmt::format(".{}.", site.geometry.layer);
  for (const std::string& name : site.stored_names()) {
    if (name.find("sink") == std::string::npos || name.find(layer) == std::string::npos) continue;
    const Array* stored = site.stored(name);
    if (stored == nullptr || stored->elements() != call->in.q.dim(1)) continue;
    for (Finding& f : with_change(site, [&](AttentionForm& form) { form.sinks = stored->values; },
                                  {"the port leaves out the attention sinks " + name,
                                   "pass them to the attention",
                                   {{"sinks", "none", name}}},
                                  {"the port has sinks that the reference has not",
                                   "leave the sinks out",
                                   {{"sinks", name, "none"}}})) {
      found.push_back(std::move(f));
    }
  }
  return found;
}

// Sinks that stand with other heads.
std::vector<Finding> sink_heads(const Site& site) {
  const auto call = attention_call(site);
  if (!call || call->form.sinks.empty()) return {};
  const std::vector<double>& sinks = call->form.sinks;
  const auto n = sinks.size();
  const auto group = std::max<size_t>(1, n / static_cast<size_t>(call->in.k.dim(1)));
  std::vector<Finding> found;
  const auto add = [&](const std::string& order, const std::function<size_t(size_t)>& from) {
    std::vector<double> other;
    for (size_t h = 0; h < n; ++h) other.push_back(sinks[from(h) % n]);
    for (Finding& f : with_change(site, [&](AttentionForm& form) { form.sinks = other; },
                                  {"the reference's sinks are those of the port " + order,
                                   "give each head its own sink",
                                   {{"sinks", "as stored", order}}},
                                  {"the port's sinks are those of the reference " + order,
                                   "give each query head its own sink",
                                   {{"sinks", order, "as stored"}}})) {
      found.push_back(std::move(f));
    }
  };
  add("in reverse", [&](size_t h) { return n - 1 - h; });
  add("rolled by one", [&](size_t h) { return h + 1; });
  add("of the key heads", [&](size_t h) { return h / group; });
  add("of the first head", [](size_t) { return size_t{0}; });
  add("dealt out to the key heads", [&](size_t h) { return h % (n / group); });
  return best_finding(std::move(found));
}

std::vector<Finding> window_side(const Site& site) {
  const auto call = attention_call(site);
  if (!call || call->form.window == 0) return {};
  return with_change(site, [](AttentionForm& form) { form.window_of = measure::WindowOf::kOldest; },
                     {"the reference's window keeps the oldest keys, the port's the newest",
                      "turn the window round",
                      {{"window of", "newest", "oldest"}}},
                     {"the port's window keeps the oldest keys, the reference's the newest",
                      "turn the window round",
                      {{"window of", "oldest", "newest"}}});
}

std::vector<Finding> measured_window(const Site& site) {
  const auto call = attention_call(site);
  if (!call) return {};
  const auto window = measure::measure_window(call->in, call->form, site.reference, site.bar);
  if (!window || *window == call->form.window) return {};
  AttentionForm right = call->form;
  right.window = *window;
  const auto text = [](int64_t w) { return w == 0 ? std::string("none") : std::to_string(w); };
  const bool has_key =
      *window == 0 || !config_key_of(site, static_cast<double>(*window), 0).empty();
  return {with_errors(site,
                      {fmt::format("attention window {} in the port, {} in the reference",
                                   text(call->form.window), text(*window)),
                       fmt::format("attend with window {} in this layer", text(*window)),
                       {{"window", text(call->form.window), text(*window)}},
                       0,
                       0,
                       has_key ? 0 : 1},
                      call->port(), measure::attend(call->in, right))};
}

std::vector<Finding> weighing(const Site& site) {
  std::vector<Finding> found;
  const auto add = [&](measure::Weighing w, const std::string& name) {
    for (Finding& f : with_change(site, [&](AttentionForm& form) { form.weighing = w; },
                                  {"the reference weighs keys by " + name + ", the port by softmax",
                                   "use " + name,
                                   {{"weights", "softmax", name}}},
                                  {"the port weighs keys by " + name + ", the reference by softmax",
                                   "use softmax",
                                   {{"weights", name, "softmax"}}})) {
      found.push_back(std::move(f));
    }
  };
  add(measure::Weighing::kSigmoid, "a sigmoid of each score");
  add(measure::Weighing::kRelu, "the positive part of each score");
  add(measure::Weighing::kNone, "the scores as they are");
  return found;
}

std::vector<Finding> precision(const Site& site) {
  if (site.dtype != "float32") return {};
  std::vector<Finding> found;
  const auto add = [&](auto change, const std::string& what, DType type) {
    const std::string name(dtype_name(type));
    for (Finding& f :
         with_change(site, [&](AttentionForm& form) { change(form, type); },
                     {"the reference rounds " + what + " to " + name + ", the port does not",
                      "round there too",
                      {{what, "float32", name}}},
                     {"the port rounds " + what + " to " + name + ", the reference does not",
                      "keep them in float32",
                      {{what, name, "float32"}}})) {
      found.push_back(std::move(f));
    }
  };
  for (const DType type : {DType::kBFloat16, DType::kFloat16}) {
    add([](AttentionForm& f, DType t) { f.score_type = t; }, "scores", type);
    add([](AttentionForm& f, DType t) { f.weight_type = t; }, "probabilities", type);
  }
  return found;
}

// Llama 4's: queries of later tokens are longer, by 1 + c log(floor((position + 1) / n) + 1).
std::vector<double> temperatures(const Site& site, double c, double n) {
  std::vector<double> t;
  for (const int64_t p : site.positions) {
    t.push_back(1 + c * std::log(std::floor((static_cast<double>(p) + 1) / n) + 1));
  }
  return t;
}

// The c and n of a side whose queries have such factors; measured token by token.
struct TemperatureLaw {
  double c = 0, n = 0;
};
std::optional<TemperatureLaw> measure_temperature(const Site& site, const AttentionCall& call,
                                                  const Array& out) {
  const auto factors = measure::measure_temperatures(call.in, call.form, out);
  TemperatureLaw best;
  double least = INFINITY;
  for (double n = 1; n <= static_cast<double>(site.positions.size()); ++n) {
    const std::vector<double> law = temperatures(site, 1, n);
    double xx = 0, xy = 0, yy = 0;
    for (size_t t = 1; t < law.size(); ++t) {
      xx += (law[t] - 1) * (law[t] - 1);
      xy += (law[t] - 1) * (factors[t] - 1);
      yy += (factors[t] - 1) * (factors[t] - 1);
    }
    if (xx > 0 && yy - xy * xy / xx < least) {
      least = yy - xy * xy / xx;
      best = {xy / xx, n};
    }
  }
  AttentionCall with = call;
  // As the numbers were written: a measured one is off by its noise.
  best.c = std::round(best.c * 1e5) / 1e5;
  with.form.temperature = temperatures(site, best.c, best.n);
  if (best.c == 0 || !measure::reproduces(with.port(), out, site.bar)) return {};
  return best;
}

std::vector<Finding> temperature(const Site& site) {
  const auto call = attention_call(site);
  if (!call || site.positions.size() < 8 || site.positions.size() > 512) return {};
  const Array base = call->port();
  const bool port_is_plain = measure::reproduces(base, reshaped(site.port, base.shape), site.bar);
  const Array& side = port_is_plain ? site.reference : site.port;
  const auto law = measure_temperature(site, *call, reshaped(side, base.shape));
  if (!law) return {};
  AttentionCall with = *call;
  with.form.temperature = temperatures(site, law->c, law->n);
  const std::string text =
      fmt::format("1 + {} log(floor((position + 1) / {}) + 1)", number_text(law->c), law->n);
  const bool has_keys = !config_key_of(site, law->c, 1e-4).empty();
  return {either_way(site, base, with.port(),
                     {"the port leaves out the queries' temperature " + text,
                      "multiply queries by " + text,
                      {{"temperature", "none", text}},
                      has_keys ? 0 : 2},
                     {"the port multiplies queries by " + text + ", the reference does not",
                      "leave the temperature out here",
                      {{"temperature", text, "none"}},
                      has_keys ? 0 : 2})};
}

std::vector<Finding> slopes(const Site& site) {
  const auto call = attention_call(site);
  if (!call) return {};
  std::vector<Finding> found;
  const std::vector<double> usual = measure::alibi_slopes(call->in.q.dim(1));
  const auto add = [&](std::vector<double> other, const std::string& what) {
    if (other == call->form.slopes) return;
    for (Finding& f :
         with_change(site, [&](AttentionForm& form) { form.slopes = other; },
                     {"the reference's slopes of ALiBi are " + what,
                      "use these slopes",
                      {{"slope of head 0",
                        call->form.slopes.empty() ? "none" : number_text(call->form.slopes[0]),
                        other.empty() ? "none" : number_text(other[0])}}},
                     {"the port's slopes of ALiBi are " + what + ", not the reference's",
                      "use the reference's slopes",
                      {{"slopes", what, "the reference's"}}})) {
      found.push_back(std::move(f));
    }
  };
  const auto times = [](std::vector<double> s, double by) {
    for (double& v : s) v *= by;
    return s;
  };
  add({}, "none");
  add(usual, "those of the paper");
  add(times(usual, call->form.scale), "those of the paper times the scale of scores");
  if (!call->form.slopes.empty()) {
    std::vector<double> reversed = call->form.slopes;
    std::reverse(reversed.begin(), reversed.end());
    add(reversed, "the port's in reverse");
    add(times(call->form.slopes, -1), "the port's with the other sign");
    add(times(call->form.slopes, 2), "twice the port's");
    add(times(call->form.slopes, 0.5), "half the port's");
  }
  return best_finding(std::move(found));
}

}  // namespace

std::vector<Cause> attention_causes() {
  constexpr std::string_view kOps = "attention", kTaps = "q_rot k_rot context";
  return {
      {"head_map", 27, "key and value head of each query head", "", kOps, kTaps, head_map},
      {"causal_mask", 20, "causal mask", "", kOps, kTaps, causal_mask},
      {"attention_sinks", 26, "attention sinks", "", kOps, kTaps, sinks},
      {"attention_sinks", 26, "sink of each head", "", kOps, kTaps, sink_heads},
      {"window_side", 23, "side of the window", "", kOps, kTaps, window_side},
      {"attention_window", 23, "attention window", "", kOps, kTaps, measured_window},
      {"attention_weights", 24, "softmax of the scores", "", kOps, kTaps, weighing},
      {"attention_precision", 74, "precision inside attention", "", kOps, kTaps, precision},
      {"query_temperature", 73, "temperature by position", "", kOps, kTaps, temperature},
      {"alibi_slopes", 18, "slopes of ALiBi", "", kOps, kTaps, slopes},
  };
}

}  // namespace lockstep::parity
