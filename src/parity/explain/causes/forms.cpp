// Causes that are an input in another form: a bias that is missing or comes twice, taps of a
// convolution in reverse, a state that is forgotten, rows of a cache overwritten, positions off by
// some. Each form is tried in the place of the input it is of.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>

#include "parity/explain/causes/causes.h"
#include "parity/explain/causes/formula.h"
#include "parity/explain/causes/repair.h"
#include "parity/explain/roles.h"
#include "parity/measure/rounding.h"

namespace lockstep::parity {
namespace {

struct Form {
  std::string name;  // "twice the bias", "no bias": as the wrong value is
  Array values;
};
using Forms = std::vector<Form>;
using MakeForms = std::function<Forms(const Site&, const SiteStep&, const Array&)>;

Array map(Array values, const std::function<double(double)>& f) {
  for (double& x : values.values) x = f(x);
  return values;
}

Array times(const Array& values, double factor) {
  return map(values, [factor](double x) { return factor * x; });
}

double rounded_bfloat16(double x) { return measure::rounded(x, DType::kBFloat16); }

// Each form of the operand `role` of each op of that name; the best.
std::vector<Finding> try_forms(const Site& site, std::string_view op, std::string_view role,
                               const MakeForms& make) {
  std::vector<Finding> found;
  for (const SiteStep& step : site.steps) {
    if (step.op != op) continue;
    for (size_t i = 0; i < step.operands.size(); ++i) {
      if (step.operands[i].role != role) continue;
      const Array* values = site.value(step.operands[i]);
      if (values == nullptr) continue;
      for (Form& form : make(site, step, *values)) {
        if (form.values.values == values->values) continue;
        Change change;
        change.given = {{step.node, i, std::move(form.values)}};
        Finding finding;
        const bool is_wrong = site.is_sound_right();
        finding.what =
            fmt::format("{} {} with {}{}", step.op, is_wrong ? "computes as" : "is right",
                        form.name, is_wrong ? ", the reference with it as it is" : " in its place");
        finding.change = fmt::format("in {}: {} of {}", site.path, role, step.op);
        finding.measured = {{std::string(role), is_wrong ? form.name : "as it is",
                             is_wrong ? "as it is" : form.name}};
        for (Finding& f : try_change(site, std::move(change), std::move(finding))) {
          found.push_back(std::move(f));
        }
      }
    }
  }
  return best_of(std::move(found));
}

void add(std::vector<Finding>& to, std::vector<Finding> more) {
  for (Finding& finding : more) to.push_back(std::move(finding));
}

Forms multiples(const std::string& of, const Array& values) {
  Forms forms = {{"no " + of, times(values, 0)}};
  for (const double factor : {2.0, 0.5, -1.0, 4.0, 0.25, 3.0}) {
    forms.push_back({fmt::format("{:g} times the {}", factor, of), times(values, factor)});
  }
  return forms;
}

MakeForms multiples_of(const char* of) {
  return [of](const Site&, const SiteStep&, const Array& values) { return multiples(of, values); };
}

MakeForms nothing_of(const char* of) {
  return [of](const Site&, const SiteStep&, const Array& values) -> Forms {
    return {{std::string("no ") + of, times(values, 0)}};
  };
}

// The module that a site or weight belongs to: "model.layers.3.self_attn".
std::string module_of(const std::string& path) { return path.substr(0, path.find_first_of("/:#")); }

// An input that the op may have and the port does not give it: a tensor of the checkpoint beside
// its others, of as many elements.
std::vector<Finding> missing_input(const Site& site, std::string_view op, std::string_view role,
                                   const std::function<int64_t(const SiteStep&)>& n_elements) {
  std::vector<Finding> found;
  for (const SiteStep& step : site.steps) {
    if (step.op != op || step.operand(role) != nullptr) continue;
    const std::vector<std::string> roles = roles_of(op, step.operands.size() + 1);
    if (roles.back() != role) continue;
    std::string module = module_of(site.path);
    if (const Operand* weight = step.operand("weight")) {
      module = weight->name.substr(0, weight->name.find_last_of('.'));
    }
    for (const std::string& name : site.stored_names()) {
      const bool is_beside = name.starts_with(module + ".") ||
                             ("model." + name).starts_with(module + ".") ||
                             module.ends_with("." + name.substr(0, name.find_last_of('.')));
      if (!is_beside || site.stored_size(name) != n_elements(step)) continue;
      Change change;
      change.given = {{step.node, step.operands.size(), *site.stored(name)}};
      Finding finding;
      finding.what = fmt::format("{} has no {}, the reference has {}", step.op, role, name);
      finding.change = fmt::format("in {}: give {} to {}", site.path, name, step.op);
      finding.measured = {{std::string(role), "none", name}};
      add(found, try_change(site, std::move(change), std::move(finding)));
    }
  }
  return best_of(std::move(found));
}

int64_t n_outputs(const SiteStep& step) {
  const Operand* weight = step.operand("weight");
  return weight == nullptr || weight->shape.empty() ? 0 : weight->shape.front();
}

std::vector<Finding> projection_bias(const Site& site) {
  std::vector<Finding> found = try_forms(site, "linear", "bias", multiples_of("bias"));
  for (const char* op : {"layer_norm", "causal_conv"}) {
    add(found, try_forms(site, op, "bias", multiples_of("bias")));
  }
  for (const char* op : {"linear", "layer_norm", "causal_conv"}) {
    add(found, missing_input(site, op, "bias", n_outputs));
  }
  return best_of(std::move(found));
}

// As the catalogue's row for a head has it.
std::vector<Finding> head_bias(const Site& site) {
  if (site.geometry.layer >= 0) return {};
  std::vector<Finding> found = try_forms(site, "linear", "bias", multiples_of("bias"));
  add(found, missing_input(site, "linear", "bias", n_outputs));
  return best_of(std::move(found));
}

std::vector<Finding> layer_bias(const Site& site) {
  const bool is_head = site.geometry.layer < 0 && site.find("linear") != nullptr;
  return is_head ? std::vector<Finding>() : projection_bias(site);
}

std::vector<Finding> attention_sinks(const Site& site) {
  const auto forms = [](const Site& at, const SiteStep&, const Array& values) -> Forms {
    Array by_group = values, reversed = values;
    const int64_t n = values.elements();
    const int64_t n_groups = std::max<int64_t>(1, at.geometry.n_kv_heads);
    for (int64_t h = 0; h < n; ++h) {
      const auto i = static_cast<size_t>(h);
      by_group.values[i] =
          values.values[static_cast<size_t>(h / std::max<int64_t>(1, n / n_groups))];
      reversed.values[i] = values.values[static_cast<size_t>(n - 1 - h)];
    }
    return {{"no sinks", map(values, [](double) { return -1e30; })},
            {"the sinks of its key heads", std::move(by_group)},
            {"the sinks in reverse", std::move(reversed)}};
  };
  std::vector<Finding> found = try_forms(site, "attention", "sinks", forms);
  add(found, missing_input(site, "attention", "sinks",
                           [&](const SiteStep&) { return site.geometry.n_heads; }));
  return best_of(std::move(found));
}

std::vector<Finding> router_bias(const Site& site) {
  std::vector<Finding> found =
      try_forms(site, "router_topk", "bias", nothing_of("correction bias"));
  add(found, missing_input(site, "router_topk", "bias",
                           [&](const SiteStep& step) { return step.operands[0].shape.back(); }));
  return best_of(std::move(found));
}

// Whole blocks of columns of x, as ranks hold them, that do not come to the sum.
std::vector<Finding> partial_sum(const Site& site) {
  return try_forms(site, "linear", "x", [](const Site&, const SiteStep&, const Array& x) {
    Forms forms = {{"all of x twice", times(x, 2)}};
    for (const int64_t ranks : {2, 4, 8}) {
      if (x.width() % ranks != 0) continue;
      const int64_t shard = x.width() / ranks;
      for (int64_t r = 0; r < ranks; ++r) {
        Array one = x, without = x;
        for (int64_t i = 0; i < x.elements(); ++i) {
          const bool is_own = i % x.width() / shard == r;
          (is_own ? without : one).values[static_cast<size_t>(i)] = 0;
        }
        forms.push_back({fmt::format("shard {} of {} alone", r, ranks), std::move(one)});
        if (ranks == 2) continue;
        forms.push_back({fmt::format("{} shards without shard {}", ranks, r), std::move(without)});
      }
    }
    return forms;
  });
}

std::vector<Finding> rows_of_head(const Site& site) {
  if (site.geometry.layer >= 0) return {};
  return try_forms(site, "linear", "x", [](const Site&, const SiteStep&, const Array& x) {
    Forms forms;
    for (const int64_t by : {1, -1}) {
      if (x.rows() < 2) continue;
      Array moved = x;
      const auto width = static_cast<ptrdiff_t>(x.width());
      std::ranges::rotate(moved.values,
                          by > 0 ? moved.values.begin() + width : moved.values.end() - width);
      forms.push_back({by > 0 ? "the next row" : "the row before", std::move(moved)});
    }
    return forms;
  });
}

std::vector<Finding> weight_zero(const Site& site) {
  std::vector<Finding> found = try_forms(site, "linear", "weight", nothing_of("weight"));
  for (const char* role : {"gate_up", "down"}) {
    add(found, try_forms(site, "experts", role, nothing_of("weight")));
  }
  return best_of(std::move(found));
}

std::vector<Finding> rotation_sign(const Site& site) {
  return try_forms(site, "rope", "sin",
                   [](const Site&, const SiteStep&, const Array& sin) -> Forms {
                     return {{"the other sign of the sine", times(sin, -1)}};
                   });
}

std::vector<Finding> gate_up_exchanged(const Site& site) {
  return try_forms(site, "experts", "gate_up", [](const Site&, const SiteStep&, const Array& w) {
    Array exchanged = w;
    const int64_t experts = w.dim(0), block = w.elements() / std::max<int64_t>(1, experts);
    for (int64_t e = 0; e < experts; ++e) {
      const auto begin = exchanged.values.begin() + e * block;
      std::rotate(begin, begin + block / 2, begin + block);
    }
    return Forms{{"gate and up exchanged", std::move(exchanged)}};
  });
}

// Positions and ids as integers: off by a constant.
Forms moved_by(const Array& values, std::initializer_list<int> by, double least, double most) {
  Forms forms;
  for (const int n : by) {
    Array moved = map(values, [n](double x) { return x + n; });
    const bool is_valid = std::ranges::all_of(
        moved.values, [least, most](double x) { return x >= least && x <= most; });
    if (is_valid) forms.push_back({fmt::format("positions {:+}", n), std::move(moved)});
  }
  return forms;
}

constexpr std::initializer_list<int> kOffsets = {
    1,  -1, 2,  -2, 3,  -3, 4,  -4, 5,  -5, 6,  -6, 7,  -7, 8,  -8, 9,   10,  11,
    12, 13, 14, 15, 16, 17, 18, 20, 24, 31, 32, 33, 48, 63, 64, 65, 127, 128, 256};

std::vector<Finding> rotation_offset(const Site& site) {
  return try_forms(site, "rotary_embedding", "positions",
                   [](const Site&, const SiteStep&, const Array& positions) {
                     return moved_by(positions, kOffsets, -1e6, 1e6);
                   });
}

std::vector<Finding> stuck_position(const Site& site) {
  if (site.phase != Phase::kDecode) return {};
  const auto forms = [](const Site&, const SiteStep&, const Array& positions) {
    Forms stuck;
    for (int64_t p = 0; p < static_cast<int64_t>(positions.values[0]); ++p) {
      stuck.push_back({fmt::format("position {}", p),
                       map(positions, [p](double) { return static_cast<double>(p); })});
    }
    return stuck;
  };
  std::vector<Finding> found = try_forms(site, "rotary_embedding", "positions", forms);
  add(found, try_forms(site, "embedding", "ids", forms));
  return best_of(std::move(found));
}

bool is_token_embedding(const SiteStep& step) {
  const Operand* ids = step.operand("ids");
  return ids != nullptr && ids->name == "@input_ids";
}

std::vector<Finding> learned_offset(const Site& site) {
  return try_forms(
      site, "embedding", "ids", [](const Site&, const SiteStep& step, const Array& ids) -> Forms {
        if (is_token_embedding(step)) return {};
        const Operand* weight = step.operand("weight");
        const double most = weight == nullptr ? 1e9 : static_cast<double>(weight->shape[0]) - 1;
        return moved_by(ids, {1, -1, 2, -2, 3, 4, 5}, 0, most);
      });
}

std::vector<Finding> shifted_tokens(const Site& site) {
  return try_forms(site, "embedding", "ids",
                   [](const Site&, const SiteStep& step, const Array& ids) -> Forms {
                     if (!is_token_embedding(step) || ids.elements() < 2) return {};
                     Array repeated = ids, rotated = ids;
                     std::shift_right(repeated.values.begin(), repeated.values.end(), 1);
                     std::ranges::rotate(rotated.values, rotated.values.begin() + 1);
                     return {{"the first token twice", std::move(repeated)},
                             {"each token's successor", std::move(rotated)}};
                   });
}

std::vector<Finding> router_order(const Site& site) {
  return try_forms(
      site, "router_topk", "logits", [](const Site&, const SiteStep&, const Array& all) {
        const int64_t n = all.width();
        const auto reordered = [&](const std::function<int64_t(int64_t)>& from) {
          Array moved = all;
          for (int64_t r = 0; r < all.rows(); ++r) {
            for (int64_t e = 0; e < n; ++e) moved.row(r)[e] = all.row(r)[from(e)];
          }
          return moved;
        };
        Forms forms = {
            {"experts numbered from 1", reordered([n](int64_t e) { return (e + 1) % n; })},
            {"experts numbered from -1", reordered([n](int64_t e) { return (e + n - 1) % n; })},
            {"experts in reverse", reordered([n](int64_t e) { return n - 1 - e; })}};
        for (int64_t a = 0; a < std::min<int64_t>(n, 16); ++a) {
          for (int64_t b = a + 1; b < std::min<int64_t>(n, 16); ++b) {
            forms.push_back({fmt::format("experts {} and {} exchanged", a, b),
                             reordered([a, b](int64_t e) { return e == a   ? b
                                                                  : e == b ? a
                                                                           : e; })});
          }
        }
        return forms;
      });
}

std::vector<Finding> router_precision(const Site& site) {
  return try_forms(site, "router_topk", "logits",
                   [](const Site&, const SiteStep&, const Array& logits) -> Forms {
                     return {{"scores in bfloat16", map(logits, rounded_bfloat16)}};
                   });
}

std::vector<Finding> convolution_taps(const Site& site) {
  return try_forms(site, "causal_conv", "weight", [](const Site&, const SiteStep&, const Array& w) {
    Array reversed = w, later = w, earlier = w;
    for (int64_t c = 0; c < w.rows(); ++c) {
      std::reverse(reversed.row(c), reversed.row(c) + w.width());
      std::rotate(later.row(c), later.row(c) + 1, later.row(c) + w.width());
      later.row(c)[w.width() - 1] = 0;
      std::rotate(earlier.row(c), earlier.row(c) + w.width() - 1, earlier.row(c) + w.width());
      earlier.row(c)[0] = 0;
    }
    return Forms{{"its taps reversed", std::move(reversed)},
                 {"one token further back", std::move(later)},
                 {"one token further on", std::move(earlier)}};
  });
}

Forms forms_of_state(const Array& state) {
  Forms forms = {{"the state forgotten", times(state, 0)},
                 {"half the state", times(state, 0.5)},
                 {"the state in bfloat16", map(state, rounded_bfloat16)}};
  Array later = state, earlier = state;
  for (int64_t r = 0; r < state.rows(); ++r) {
    std::shift_left(later.row(r), later.row(r) + state.width(), 1);
    std::shift_right(earlier.row(r), earlier.row(r) + state.width(), 1);
  }
  forms.push_back({"the state one token on", std::move(later)});
  forms.push_back({"the state one token back", std::move(earlier)});
  return forms;
}

std::vector<Finding> recurrent_state(const Site& site) {
  std::vector<Finding> found;
  for (const char* op : {"causal_conv", "selective_scan", "ssd_scan", "gated_delta_rule"}) {
    add(found, try_forms(site, op, "state", [](const Site&, const SiteStep&, const Array& state) {
          return forms_of_state(state);
        }));
  }
  return best_of(std::move(found));
}

std::vector<Finding> scan_terms(const Site& site) {
  std::vector<Finding> found;
  for (const char* op : {"selective_scan", "ssd_scan", "gated_delta_rule"}) {
    add(found, try_forms(site, op, "dt_bias", multiples_of("dt_bias")));
    add(found, try_forms(site, op, "D", multiples_of("D")));
    add(found,
        try_forms(site, op, "A_log", [](const Site&, const SiteStep&, const Array& a) -> Forms {
          const double two = std::log(2.0);
          return {{"twice the decay", map(a, [two](double x) { return x + two; })},
                  {"half the decay", map(a, [two](double x) { return x - two; })},
                  {"A_log in the place of A",
                   map(a, [](double x) { return x > 0 ? std::log(x) : -1e30; })},
                  {"A in the place of A_log", map(a, [](double x) { return std::exp(x); })}};
        }));
  }
  return best_of(std::move(found));
}

// Tables whose frequencies, positions or angles a narrower type holds.
std::vector<Finding> table_precision(const Site& site) {
  const SiteStep* step = site.only("rotary_embedding");
  const Array* positions = step == nullptr ? nullptr : site.operand(*step, "positions");
  if (positions == nullptr || !step->attrs.has("inv_freq") || site.dtype != "float32") return {};
  const auto n = static_cast<int64_t>(step->attrs.get_floats("inv_freq").size());
  if (site.port.elements() != positions->elements() * 2 * n) return {};
  const std::span<const double> inv = step->attrs.get_floats("inv_freq");
  const bool by_half = step->attrs.get_string("layout", "half") == "half";
  const double factor = step->attrs.get_float("attention_scaling", 1);
  using Round = std::function<double(double)>;
  const auto table = [&](double (*function)(double), const Round& of_inv, const Round& of_angle) {
    Array values = site.port;
    for (int64_t t = 0; t < positions->elements(); ++t) {
      for (int64_t i = 0; i < 2 * n; ++i) {
        const double frequency = of_inv(inv[static_cast<size_t>(by_half ? i % n : i / 2)]);
        const double position = positions->values[static_cast<size_t>(t)];
        values.values[static_cast<size_t>(t * 2 * n + i)] =
            factor * function(of_angle(static_cast<float>(position * frequency)));
      }
    }
    return values;
  };

  const Round none = [](double x) { return x; };
  std::vector<Finding> found;
  for (double (*function)(double) :
       {+[](double x) { return std::cos(x); }, +[](double x) { return std::sin(x); }}) {
    const Array right = table(function, none, none);
    for (const DType type : {DType::kFloat16, DType::kBFloat16}) {
      const Round narrow = [type](double x) { return measure::rounded(x, type); };
      for (const auto& [what, wrong] :
           {std::pair{"frequencies", table(function, narrow, none)},
            std::pair{"angles", table(function, none, narrow)},
            std::pair{"frequencies and angles", table(function, narrow, narrow)}}) {
        Finding finding;
        finding.what = fmt::format("{} of the rotation are held in {}", what, dtype_name(type));
        finding.change = "compute them in float32";
        finding.measured = {{what, std::string(dtype_name(type)), "float32"}};
        found.push_back(with_errors(site, std::move(finding), wrong, right));
      }
    }
  }
  return best_of(std::move(found));
}

// What a norm gives before its weight, rounded where the type between modules is wider.
std::vector<Finding> normed_rounding(const Site& site) {
  const SiteStep* step = site.only("rms_norm");
  const Array* x = step == nullptr ? nullptr : site.operand(*step, "x");
  const Array* weight = step == nullptr ? nullptr : site.operand(*step, "weight");
  if (x == nullptr || weight == nullptr || site.dtype != "float32") return {};
  const double eps = step->attrs.get_float("eps");
  const double offset = step->attrs.get_float("weight_offset", 0);
  const auto normed = [&](DType type) {
    Array y = *x;
    for (int64_t r = 0; r < y.rows(); ++r) {
      double square = 0;
      for (int64_t i = 0; i < y.width(); ++i) square += y.row(r)[i] * y.row(r)[i];
      const double by = 1 / std::sqrt(square / static_cast<double>(y.width()) + eps);
      for (int64_t i = 0; i < y.width(); ++i) {
        y.row(r)[i] = measure::rounded(y.row(r)[i] * by, type) *
                      (weight->values[static_cast<size_t>(i)] + offset);
      }
    }
    return y;
  };
  std::vector<Finding> found;
  for (const DType type : {DType::kBFloat16, DType::kFloat16}) {
    Finding finding;
    finding.what =
        fmt::format("the normed values are rounded to {} before the weight", dtype_name(type));
    finding.change = "round to the type between modules alone";
    finding.measured = {{"normed values", std::string(dtype_name(type)), site.dtype}};
    found.push_back(with_errors(site, std::move(finding), normed(type), normed(DType::kFloat32)));
  }
  return best_of(std::move(found));
}

// The weight's product times a factor, the bias apart.
std::vector<Finding> weight_factor(const Site& site) {
  const SiteStep* step = site.only("linear");
  const Array* bias = step == nullptr ? nullptr : site.operand(*step, "bias");
  if (bias == nullptr || !site.is_sound_right()) return {};
  Array port = site.port, reference = reshaped(site.reference, site.port.shape);
  double dot = 0, norm = 0;
  for (int64_t i = 0; i < port.elements(); ++i) {
    const auto at = static_cast<size_t>(i);
    const double b = bias->values[static_cast<size_t>(i % port.width())];
    dot += (port.values[at] - b) * (reference.values[at] - b);
    norm += (reference.values[at] - b) * (reference.values[at] - b);
  }
  if (norm == 0) return {};
  const double factor = dot / norm;
  Array wrong = reference;
  for (int64_t i = 0; i < wrong.elements(); ++i) {
    const double b = bias->values[static_cast<size_t>(i % wrong.width())];
    double& y = wrong.values[static_cast<size_t>(i)];
    y = factor * (y - b) + b;
  }
  Finding finding;
  finding.what =
      fmt::format("the product is {:.6g} times the reference's, the bias is not", factor);
  finding.change = fmt::format("in {}: the weight without the factor {:.6g}", site.path, factor);
  finding.measured = {{"factor of the weight", fmt::format("{:.6g}", factor), "1"}};
  finding.n_fitted = 1;
  return {with_errors(site, std::move(finding), wrong, reference)};
}

// Row `to` of a paged cache [pages, heads, page size, width] becomes row `from`.
Array overwritten(const Array& cache, int64_t to, int64_t from) {
  Array changed = cache;
  const int64_t heads = cache.dim(1), page = cache.dim(2), width = cache.dim(3);
  const auto at = [&](int64_t row, int64_t head) {
    return ((row / page * heads + head) * page + row % page) * width;
  };
  for (int64_t h = 0; h < heads; ++h) {
    std::copy_n(cache.values.begin() + at(from, h), width, changed.values.begin() + at(to, h));
  }
  return changed;
}

std::vector<Finding> cache_rows(const Site& site) {
  if (site.phase != Phase::kDecode) return {};
  const int64_t n_past = static_cast<int64_t>(site.ids.size()) - 1;
  std::vector<Finding> found;
  for (const char* role : {"k_cache", "v_cache"}) {
    add(found,
        try_forms(site, "attention", role,
                  [n_past](const Site&, const SiteStep&, const Array& cache) {
                    Forms forms;
                    for (int64_t row = 0; row < n_past; ++row) {
                      for (const int64_t from : {row + 1, row - 1}) {
                        if (from < 0 || from >= n_past) continue;
                        forms.push_back({fmt::format("row {} overwritten by row {}", row, from),
                                         overwritten(cache, row, from)});
                      }
                    }
                    return forms;
                  }));
  }
  return best_of(std::move(found));
}

}  // namespace

std::vector<Cause> form_causes() {
  return {
      {"projection_bias", 30, "bias left out or counted otherwise", "",
       "linear layer_norm causal_conv", "", layer_bias},
      {"head_bias", 44, "bias of the head left out or counted otherwise", "", "linear", "",
       head_bias},
      {"attention_sinks", 26, "sinks of attention", "", "attention", "scores", attention_sinks},
      {"router_bias", 52, "correction bias of the router", "", "router_topk", "topk_ids",
       router_bias},
      {"partial_sum", 60, "sum over ranks", "", "linear", "", partial_sum},
      {"rows_of_head", 76, "rows that logits are of", "", "linear", "", rows_of_head},
      {"weight_zero", 57, "weight never loaded", "", "linear experts", "", weight_zero},
      {"rotation_sign", 8, "sign of the rotation", "", "rope", "q_rot k_rot", rotation_sign},
      {"gate_up_exchanged", 47, "gate and up exchanged", "", "experts", "", gate_up_exchanged},
      {"rotation_offset", 9, "positions off by a constant", "", "rotary_embedding", "rotary_emb",
       rotation_offset},
      {"stuck_position", 10, "position of a decoded token", "", "rotary_embedding embedding", "",
       stuck_position},
      {"learned_offset", 19, "learned positions off by a constant", "", "embedding", "",
       learned_offset},
      {"shifted_tokens", 66, "tokens shifted", "", "embedding", "", shifted_tokens},
      {"router_order", 54, "order of the experts", "", "router_topk", "topk_ids", router_order},
      {"router_precision", 55, "router in low precision", "", "router_topk", "topk_ids",
       router_precision},
      {"convolution_taps", 64, "taps of the convolution", "", "causal_conv", "", convolution_taps},
      {"recurrent_state", 64, "recurrent state", "",
       "causal_conv selective_scan ssd_scan gated_delta_rule", "ssm_state conv_state",
       recurrent_state},
      {"scan_terms", 65, "terms of the scan", "", "selective_scan ssd_scan gated_delta_rule", "",
       scan_terms},
      {"rotary_precision", 11, "precision of rotary angles", "", "rotary_embedding", "rotary_emb",
       table_precision},
      {"norm_rounding", 37, "where the norm rounds", "", "rms_norm", "", normed_rounding},
      {"weight_scaled", 56, "scale of the weight", "", "linear", "", weight_factor},
      {"cache_rows", 62, "rows of the cache", "", "attention", "", cache_rows},
  };
}

}  // namespace lockstep::parity
