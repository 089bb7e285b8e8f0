// Causes in sums, products and constant factors of whole tensors: multipliers of residuals and
// embeddings, branches that are dropped, and outcomes that are a multiple, a shift or another
// value of the reference.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "parity/explain/causes/causes.h"
#include "parity/explain/causes/formula.h"
#include "parity/explain/causes/repair.h"
#include "parity/explain/edit.h"
#include "parity/measure/activation.h"
#include "parity/measure/pattern.h"

namespace lockstep::parity {
namespace {

double dot(const std::vector<double>& a, const std::vector<double>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

struct Pair {
  Array a, b;
};

// The operands of a sum or product, both as long as the outcome.
std::optional<Pair> operands_of(const Site& site, std::string_view fn) {
  const SiteStep* step = last_step(site, "elementwise");
  if (step == nullptr || step->attrs.get_string("fn", "") != fn) return {};
  Pair pair{operand_or_empty(site, *step, "a"), operand_or_empty(site, *step, "b")};
  const size_t n = site.port.values.size();
  if (pair.a.values.size() != n || pair.b.values.size() != n || n == 0) return {};
  return pair;
}

Array combined(const Pair& pair, double alpha, double beta) {
  return measure::sum(measure::scaled(pair.a, alpha), measure::scaled(pair.b, beta));
}

std::string operand_name(const Site& site, std::string_view role) {
  const SiteStep* step = last_step(site, "elementwise");
  const Operand* operand = step == nullptr ? nullptr : step->operand(role);
  const bool has_name = operand != nullptr && operand->kind == Operand::Kind::kKnown;
  if (has_name) return operand->name;
  return role == "a" ? "the first addend" : "the second addend";
}

// The reference's sum is alpha a + beta b, the port's a + b.
std::vector<Finding> multiplier(const Site& site) {
  const auto pair = operands_of(site, "add");
  if (!pair) return {};
  const std::vector<double>&a = pair->a.values, &b = pair->b.values, &y = site.reference.values;
  const double aa = dot(a, a), ab = dot(a, b), bb = dot(b, b), ya = dot(y, a), yb = dot(y, b);
  const double determinant = aa * bb - ab * ab;
  if (!(determinant > 1e-9 * aa * bb)) return {};
  double weights[2] = {(ya * bb - yb * ab) / determinant, (yb * aa - ya * ab) / determinant};
  int n_fitted = 0;
  std::vector<std::string> said;
  const double errors[2] = {site.bar * std::sqrt(dot(y, y) / aa),
                            site.bar * std::sqrt(dot(y, y) / bb)};
  for (int i = 0; i < 2; ++i) {
    const std::string name = operand_name(site, i == 0 ? "a" : "b");
    const double nearest = std::round(weights[i]);
    if (std::abs(nearest) <= 1 && std::abs(weights[i] - nearest) <= 4 * errors[i]) {
      weights[i] = nearest;
      if (nearest == 0) said.push_back("leaves " + name + " out");
      if (nearest == -1) said.push_back("subtracts " + name);
      continue;
    }
    const std::string key = config_key_of(site, weights[i], 1e-3);
    if (key.empty()) ++n_fitted;
    said.push_back(fmt::format("multiplies {} by {}{}", name, number_text(weights[i]),
                               key.empty() ? "" : " (config.json: " + key + ")"));
  }
  // A sign alone is the sum's own attribute.
  if (said.empty() || (std::abs(weights[0]) == 1 && std::abs(weights[1]) == 1)) return {};
  const std::string all = said.size() == 1 ? said[0] : said[0] + " and " + said[1];
  return {with_errors(
      site,
      {"the reference " + all + ", the port adds both as they are",
       "give the sum the reference's multipliers",
       {{"multipliers", "1 and 1", number_text(weights[0]) + " and " + number_text(weights[1])}},
       0,
       0,
       n_fitted},
      combined(*pair, 1, 1), combined(*pair, weights[0], weights[1]))};
}

// The reference's outcome is one of the two that the port multiplies.
std::vector<Finding> gate_missing(const Site& site) {
  const auto pair = operands_of(site, "mul");
  if (!pair) return {};
  std::vector<Finding> found;
  const Array product = measure::map(pair->a, pair->b, [](double x, double y) { return x * y; });
  for (const char* role : {"a", "b"}) {
    const Array& kept = role[0] == 'a' ? pair->a : pair->b;
    const std::string other = operand_name(site, role[0] == 'a' ? "b" : "a");
    found.push_back(with_errors(site,
                                {"the reference does not multiply by " + other,
                                 "leave that product out",
                                 {{"gated", "yes", "no"}}},
                                product, kept));
    for (const measure::NamedFunction& f : measure::functions()) {
      if (f.name == "linear") continue;
      const Array& by = role[0] == 'a' ? pair->b : pair->a;
      const Array right =
          measure::map(measure::map(kept, f.f), by, [](double x, double y) { return x * y; });
      found.push_back(with_errors(site,
                                  {fmt::format("the reference takes {} of {} before it multiplies",
                                               f.name, operand_name(site, role)),
                                   fmt::format("apply {} there", f.name),
                                   {{"gate", "as it is", std::string(f.name)}}},
                                  product, right));
    }
  }
  const auto best = std::ranges::min_element(found, {}, &Finding::reference_error);
  return {*best};
}

// Numbers that a factor of a whole tensor is made from, with how.
struct Origin {
  double value;
  std::string text;
};

std::vector<Origin> origins(const Site& site) {
  std::vector<Origin> all = {{-1, "the sign"}, {2, "added twice"}, {0.5, "halved"}};
  for (const auto& [key, value] : site.config_numbers()) {
    if (value <= 0 || value == 1) continue;
    all.push_back({value, key});
    all.push_back({std::sqrt(value), "sqrt(" + key + ")"});
  }
  const size_t n = all.size();
  for (size_t i = 3; i < n; ++i) all.push_back({1 / all[i].value, "1 / " + all[i].text});
  return all;
}

// The port's outcome is the reference's times one number.
std::vector<Finding> whole_factor(const Site& site) {
  if (site.is_ids) return {};
  const auto factor =
      measure::whole_factor(site.port, reshaped(site.reference, site.port.shape), site.bar);
  if (!factor || *factor == 0) return {};
  Finding finding;
  double value = *factor;
  // Also where config.json has the number: an entry that says which factor it is goes first.
  finding.n_fitted = 2;
  std::string from;
  for (const Origin& origin : origins(site)) {
    if (std::abs(origin.value - *factor) > number_tolerance(site) * std::abs(*factor)) continue;
    from = " (" + origin.text + ")";
    break;
  }
  finding.what =
      fmt::format("the port's values are the reference's times {}{}", number_text(value), from);
  finding.change = fmt::format("divide by {}: a factor is applied once too often, or left out",
                               number_text(value));
  finding.measured = {{"factor", number_text(value), "1"}};
  return {with_errors(site, finding, measure::scaled(site.reference, value), site.reference)};
}

// The same of anything but an embedding: a multiplier on the way to the stream.
std::vector<Finding> factor_of_block(const Site& site) {
  for (const SiteStep& step : site.steps) {
    if (step.op == "embedding") return {};
  }
  return whole_factor(site);
}

// A root of a width as bfloat16 holds it: 55.5 for 55.4256.
std::vector<Finding> rounded_root(const Site& site) {
  if (site.is_ids || site.dtype != "float32") return {};
  const auto factor =
      measure::whole_factor(site.port, reshaped(site.reference, site.port.shape), site.bar);
  if (!factor || site.geometry.hidden == 0) return {};
  const double root = std::sqrt(static_cast<double>(site.geometry.hidden));
  const double narrow = bfloat16_to_float(float_to_bfloat16(static_cast<float>(root)));
  if (narrow == root) return {};
  const bool port_rounds = std::abs(*factor - narrow / root) < number_tolerance(site);
  const bool reference_rounds = std::abs(*factor - root / narrow) < number_tolerance(site);
  if (!port_rounds && !reference_rounds) return {};
  const std::string exact = number_text(root), rounded = number_text(narrow);
  return {with_errors(
      site,
      {fmt::format("embeddings are scaled by {} in the port, {} in the reference: sqrt({}) {}",
                   port_rounds ? rounded : exact, port_rounds ? exact : rounded,
                   site.geometry.hidden,
                   port_rounds ? "rounded to bfloat16" : "as bfloat16 rounds it"),
       port_rounds ? "scale in float32" : "round the root to bfloat16 first",
       {{"scale", port_rounds ? rounded : exact, port_rounds ? exact : rounded}}},
      measure::scaled(site.reference, *factor), site.reference)};
}

// A factor a token: one that the reference recorded, or its logistic.
std::vector<Finding> token_factor(const Site& site) {
  if (site.is_ids ||
      measure::whole_factor(site.port, reshaped(site.reference, site.port.shape), site.bar)) {
    return {};
  }
  const int64_t n = site.geometry.n_tokens;
  if (n < 2 || site.port.elements() % n != 0) return {};
  const std::vector<int64_t> rows = {n, site.port.elements() / n};
  const Array port = reshaped(site.port, rows), reference = reshaped(site.reference, rows);
  const auto factors = measure::row_factors(port, reference, site.bar);
  if (!factors) return {};
  std::vector<Finding> found;
  Array made = reference;
  for (int64_t r = 0; r < n; ++r) {
    for (double& v : measure::row(made, r)) v *= (*factors)[static_cast<size_t>(r)];
  }
  const double tolerance = std::max(1e-4, 10 * site.bar);
  for (const std::string& path : site.tap_paths()) {
    const Array* tap = site.tap(path);
    if (tap == nullptr || tap->elements() != n) continue;
    std::vector<double> forms[4] = {tap->values, tap->values, tap->values, tap->values};
    const char* names[4] = {"", "1 / ", "sigmoid of ", "1 / sigmoid of "};
    for (double& v : forms[1]) v = 1 / v;
    for (double& v : forms[2]) v = 1 / (1 + std::exp(-v));
    for (double& v : forms[3]) v = 1 + std::exp(-v);
    for (int i = 0; i < 4; ++i) {
      if (!measure::agree(*factors, forms[i], tolerance)) continue;
      found.push_back(with_errors(
          site,
          {fmt::format("the port's tokens are the reference's times {}{}", names[i], path),
           i % 2 == 1 ? "multiply by it: the port leaves it out" : "leave it out",
           {{"factor of token 0", number_text(factors->front()), "1"}},
           0,
           0,
           1},
          made, reference));
    }
  }
  if (!found.empty()) return found;
  return {with_errors(
      site,
      {"the port's tokens are the reference's times a factor each, which no recorded value is",
       "look for what multiplies whole tokens: a gate, a router's weight, a temperature",
       {{"factor of token 0", number_text(factors->front()), "1"}},
       0,
       0,
       static_cast<int>(n)},
      made, reference)};
}

// Tokens of the port are the reference's, some places on.
std::vector<Finding> shifted_tokens(const Site& site) {
  const int64_t n = site.geometry.n_tokens;
  if (site.is_ids || n < 4 || site.port.elements() % n != 0) return {};
  const std::vector<int64_t> rows = {n, site.port.elements() / n};
  const Array port = reshaped(site.port, rows), reference = reshaped(site.reference, rows);
  for (const int64_t by : {-2, -1, 1, 2}) {
    const int64_t begin = std::max<int64_t>(0, -by), end = n - std::max<int64_t>(0, by);
    const Array moved = measure::row_range(reference, begin + by, end + by);
    const Array there = measure::row_range(port, begin, end);
    if (!measure::reproduces(moved, there, site.bar)) continue;
    Array made = port;
    std::ranges::copy(moved.values, made.row(begin));
    return {with_errors(site,
                        {fmt::format("token t of the port is token t {} {} of the reference",
                                     by > 0 ? '+' : '-', std::abs(by)),
                         "take the rows that belong to the tokens",
                         {{"shift of tokens", std::to_string(by), "0"}},
                         0,
                         0,
                         1},
                        made, reference)};
  }
  return {};
}

bool only_moves(const Site& site) {
  return std::ranges::all_of(site.steps, [](const SiteStep& step) {
    return step.op == "slice" || step.op == "concat" || step.op == "cast";
  });
}

// What stands beside the site in its module: "q_rot" and "k_rot", "q_proj" and "v_proj".
bool is_beside(const Site& site, const std::string& path) {
  const size_t cut = site.path.find_last_of("./");
  return cut != std::string::npos && path.starts_with(site.path.substr(0, cut + 1)) &&
         path.find_first_of("./:", cut + 1) == std::string::npos;
}

// The port's outcome is another value that the reference recorded.
std::vector<Finding> value_of(const Site& site, bool beside) {
  if (site.is_ids || measure::reproduces(site.reference, site.port, site.bar)) return {};
  for (const std::string& path : site.tap_paths()) {
    const Array* tap = site.tap(path);
    if (path == site.path || tap == nullptr || tap->elements() != site.port.elements()) continue;
    if (is_beside(site, path) != beside || !(distance(*tap, site.port) <= site.bar)) continue;
    // What goes in comes out where nothing but its place is changed: that says what is left out.
    const bool is_input = std::ranges::any_of(site.steps, [&](const SiteStep& step) {
      return std::ranges::any_of(step.operands, [&](const Operand& o) { return o.name == path; });
    });
    if (site.steps.empty() || (is_input && only_moves(site))) continue;
    return {with_errors(site,
                        {"what the port has here is the reference's " + path,
                         "compute this value, not that one",
                         {{"value", path, site.path}},
                         0,
                         0,
                         beside && only_moves(site) ? 0 : 1},
                        *tap, site.reference)};
  }
  return {};
}

std::vector<Finding> another_value(const Site& site) { return value_of(site, false); }
std::vector<Finding> value_beside(const Site& site) { return value_of(site, true); }

// "64..95", or the first of several runs.
std::string columns_text(const std::vector<int64_t>& places) {
  size_t end = 1;
  while (end < places.size() && places[end] == places[end - 1] + 1) ++end;
  return fmt::format("{}..{}{}", places[0], places[end - 1], end < places.size() ? ", ..." : "");
}

// A piece that is cut out of a joined value at another place.
std::vector<Finding> cut_elsewhere(const Site& site) {
  const SiteStep* step = last_step(site, "slice");
  const int64_t n = site.geometry.n_tokens;
  if (step == nullptr || n < 2 || site.is_ids) return {};
  Array x = operand_or_empty(site, *step, "x");
  if (x.values.empty() || x.elements() % n != 0 || site.port.elements() % n != 0) return {};
  x = reshaped(x, {n, x.elements() / n});
  const std::vector<int64_t> rows = {n, site.port.elements() / n};
  const Array port = reshaped(site.port, rows), reference = reshaped(site.reference, rows);
  const auto of_port = measure::column_places(port, x, site.bar);
  const auto of_reference = measure::column_places(reference, x, site.bar);
  if (!of_port || !of_reference || *of_port == *of_reference) return {};
  const auto taken = [&](const std::vector<int64_t>& places) {
    Array out = port;
    for (int64_t r = 0; r < n; ++r) {
      for (int64_t c = 0; c < out.width(); ++c) {
        const int64_t from = places[static_cast<size_t>(c)];
        measure::at(out, r, c) = from < 0 ? 0 : measure::at(x, r, from);
      }
    }
    return out;
  };
  return {
      with_errors(site,
                  {fmt::format("the port takes channels {} of the joined value, the reference {}",
                               columns_text(*of_port), columns_text(*of_reference)),
                   "split the joined value in the reference's order",
                   {{"channels", columns_text(*of_port), columns_text(*of_reference)}}},
                  taken(*of_port), taken(*of_reference))};
}

// Pieces of one joined value, each in the other's place.
std::vector<Finding> exchanged_pieces(const Site& site) {
  std::vector<Finding> found;
  for (const SiteStep& a : site.steps) {
    for (const SiteStep& b : site.steps) {
      if (a.op != "slice" || b.op != "slice" || a.node >= b.node) continue;
      if (a.operands.empty() || b.operands.empty() || a.operands[0].name != b.operands[0].name ||
          a.operands[0].step != b.operands[0].step) {
        continue;
      }
      const auto bounds = [](const SiteStep& step) {
        const std::span<const int64_t> all = step.attrs.get_ints("bounds");
        return std::vector<int64_t>(all.begin(), all.end());
      };
      const std::vector<int64_t> of_a = bounds(a), of_b = bounds(b);
      Change change;
      change.graph = [=, node_a = a.node, node_b = b.node](Graph& part) {
        set_attr(part, node_a, "bounds", of_b);
        set_attr(part, node_b, "bounds", of_a);
      };
      Finding finding{"two pieces of " + a.operands[0].name + " stand for each other",
                      "split it in the reference's order",
                      {{"pieces", "exchanged", "in order"}}};
      for (Finding& f : try_change(site, std::move(change), std::move(finding))) {
        found.push_back(std::move(f));
      }
    }
  }
  return best_finding(std::move(found));
}

}  // namespace

std::vector<Cause> sum_causes() {
  return {
      {"residual_multiplier", 41, "multipliers of a sum", "", "elementwise", "", multiplier},
      {"gate_missing", 50, "a product on one side alone", "", "elementwise", "", gate_missing},
      {"rounded_root", 42, "rounding of the embeddings' scale", "", "embedding elementwise", "",
       rounded_root},
      {"whole_factor", 42, "a factor of the whole value", "", "embedding", "", whole_factor},
      {"block_factor", 41, "a factor of the whole value", "", "*", "", factor_of_block},
      {"token_factor", 50, "a factor of each token", "", "*", "", token_factor},
      {"rows_of_head", 76, "tokens in other rows", "", "*", "", shifted_tokens},
      {"another_value", 69, "another value in its place", "", "*", "", another_value},
      {"exchanged_inputs", 28, "a value that belongs beside it", "", "*", "", value_beside},
      {"split_order", 29, "order of the pieces of a joined value", "", "slice", "", cut_elsewhere},
      {"split_order", 29, "order of the pieces of a joined value", "", "slice", "",
       exchanged_pieces},
  };
}

}  // namespace lockstep::parity
