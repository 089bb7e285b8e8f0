// Causes in the rotation of queries and keys: both sides' are measured, and what differs is named.
#include "parity/measure/rotation.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "parity/explain/causes/causes.h"
#include "parity/explain/causes/formula.h"
#include "parity/measure/frequency_law.h"
#include "parity/measure/rounding.h"

namespace lockstep::parity {
namespace {

using measure::FrequencyFault;
using measure::Pairing;
using measure::Rotation;

std::vector<double> doubles(const std::vector<int64_t>& values) {
  return {values.begin(), values.end()};
}

// Both sides' rotations, and what they were read off: vectors before and after, or one table.
struct Turned {
  Array x, port, reference;  // [tokens, heads, width]; x is empty of a table
  std::vector<double> positions;
  Rotation of_port = {}, of_reference = {};
  double tolerance = 0;  // of a frequency
  measure::Table table = measure::Table::kCosines;
  bool is_halved = false;  // of a table, which has each frequency once
  int64_t begin = -1;      // channel of the site's heads where x's begin; -1: they are the heads

  // `whole` with `part`, of x's shape, in its place.
  Array placed(const Array& part, Array whole) const {
    if (begin < 0) return part;
    const int64_t heads = whole.dim(1), width = whole.dim(2);
    for (int64_t t = 0; t < x.dim(0); ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        const double* from = part.row(t * x.dim(1) + std::min(h, x.dim(1) - 1));
        std::copy_n(from, x.dim(2), whole.values.data() + (t * heads + h) * width + begin);
      }
    }
    return whole;
  }
  Array outcome(const Rotation& rotation) const {
    if (x.values.empty()) {
      const Array whole = measure::table_of(table, rotation, positions);
      return is_halved ? measure::column_range(whole, 0, whole.width() / 2) : whole;
    }
    return measure::rotate(x, positions, rotation);
  }
};

// Columns [begin, begin + width) of each head of `whole`, [tokens, heads, ...]; one head of them
// where x has one for all.
Array part_of(const Array& whole, const Array& x, int64_t begin) {
  Array part = x;
  const int64_t heads = whole.dim(1), width = whole.dim(2);
  for (int64_t t = 0; t < x.dim(0); ++t) {
    for (int64_t h = 0; h < x.dim(1); ++h) {
      const double* from = whole.values.data() + (t * heads + h) * width + begin;
      std::copy_n(from, x.dim(2), part.row(t * x.dim(1) + h));
    }
  }
  return part;
}

// The rotation that makes the site's value, or the end of each of its heads: its step, and where in
// a head it stands.
struct RotatedPart {
  const SiteStep* step = nullptr;
  int64_t begin = 0;
};

RotatedPart rotated_part(const Site& site) {
  if (const SiteStep* step = last_step(site, "rope")) return {step, 0};
  const SiteStep* joined = last_step(site, "concat");
  if (joined == nullptr) return {};
  int64_t begin = 0;
  for (const Operand& operand : joined->operands) {
    const bool is_step = operand.kind == Operand::Kind::kStep;
    if (is_step && site.steps[static_cast<size_t>(operand.step)].op == "rope") {
      return {&site.steps[static_cast<size_t>(operand.step)], begin};
    }
    begin += operand.shape.empty() ? 0 : operand.shape.back();
  }
  return {};
}

std::optional<Turned> vectors_of(const Site& site) {
  const RotatedPart part = rotated_part(site);
  if (part.step == nullptr) return {};
  Turned turned{operand_or_empty(site, *part.step, "x"), {}, {}, doubles(site.positions)};
  const Array& x = turned.x;
  if (x.rank() != 3 || x.values.empty()) return {};
  if (x.elements() == site.port.elements()) {
    turned.port = reshaped(site.port, x.shape);
    turned.reference = reshaped(site.reference, x.shape);
    return turned;
  }
  if (site.port.rank() != 3 || site.port.dim(0) != x.dim(0) || site.port.dim(1) < x.dim(1))
    return {};
  const Array reference = reshaped(site.reference, site.port.shape);
  turned.begin = part.begin;
  turned.port = part_of(site.port, x, part.begin);
  turned.reference = part_of(reference, x, part.begin);
  // What does not turn must be right, or something else is wrong as well.
  if (!measure::reproduces(turned.placed(turned.reference, site.port), reference, site.bar))
    return {};
  return turned;
}

std::optional<Turned> vectors_measured(const Site& site) {
  std::optional<Turned> turned = vectors_of(site);
  if (!turned) return {};
  const auto of = [&](const Array& y) {
    return measure::measure_rotation(turned->x, y, turned->positions, site.bar);
  };
  const auto port = of(turned->port), reference = of(turned->reference);
  if (!port || !reference) return {};
  turned->of_port = *port;
  turned->of_reference = *reference;
  return turned;
}

// Each row twice, side by side.
Array doubled(const Array& m) {
  Array out = measure::matrix(m.rows(), 2 * m.width());
  for (int64_t r = 0; r < m.rows(); ++r) {
    std::copy_n(m.row(r), m.width(), out.row(r));
    std::copy_n(m.row(r), m.width(), out.row(r) + m.width());
  }
  return out;
}

// Whether the site is a table, and one of which the first half is kept.
bool is_halved_table(const Site& site) {
  const SiteStep* slice = last_step(site, "slice");
  const Operand* x = slice == nullptr ? nullptr : slice->operand("x");
  return x != nullptr && x->kind == Operand::Kind::kStep &&
         site.steps[static_cast<size_t>(x->step)].op == "rotary_embedding";
}

std::optional<Turned> table_measured(const Site& site) {
  const bool is_halved = is_halved_table(site);
  if (last_step(site, "rotary_embedding") == nullptr && !is_halved) return {};
  const auto whole = [&](const Array& m) { return is_halved ? doubled(m) : m; };
  for (const auto table : {measure::Table::kCosines, measure::Table::kSines}) {
    Turned turned{{}, whole(site.port), whole(site.reference), doubles(site.positions)};
    turned.table = table;
    turned.is_halved = is_halved;
    const auto of = [&](const Array& y) -> std::optional<Rotation> {
      for (const Pairing pairing : {Pairing::kHalf, Pairing::kInterleaved}) {
        auto found = measure::measure_table(y, table, pairing, turned.positions, site.bar);
        if (found) return found;
      }
      return {};
    };
    const auto port = of(turned.port);
    if (!port) continue;
    const auto reference = of(turned.reference);
    if (!reference) return {};
    turned.of_port = *port;
    turned.of_reference = *reference;
    return turned;
  }
  return {};
}

std::optional<Turned> measured(const Site& site) {
  std::optional<Turned> turned = vectors_measured(site);
  if (!turned) turned = table_measured(site);
  if (!turned) return {};
  const double last = *std::ranges::max_element(turned->positions);
  // Near zero a cosine changes with the square of the angle.
  const double angle = measure::kRowFactor * site.bar;
  const bool is_cosine = turned->x.values.empty() && turned->table == measure::Table::kCosines;
  turned->tolerance = (is_cosine ? std::sqrt(2 * angle) : angle) / std::max(1.0, last);
  return turned;
}

Finding finding_of(const Site& site, const Turned& t, const Words& words) {
  return with_errors(site, {words.what, words.change, words.measured, 0, 0, words.n_fitted},
                     t.placed(t.outcome(t.of_port), site.port),
                     t.placed(t.outcome(t.of_reference), site.reference));
}

// The number of config.json that `value` is, instead of what was measured; a fitted number else.
struct Named {
  double value = 0;
  std::string text;
  int n_fitted = 0;
};

Named named(const Site& site, double value, double tolerance) {
  const double within = std::max(tolerance, number_tolerance(site));
  for (const auto& [key, number] : site.config_numbers()) {
    if (std::abs(number - value) <= within * value) {
      return {number, fmt::format("{} (config.json: {})", number_text(number), key), 0};
    }
  }
  return {value, number_text(value), 1};
}

// Which of the questions each entry asks differ between both rotations.
struct Differences {
  bool style = false, width = false, position = false, factor = false;
  FrequencyFault frequency = FrequencyFault::kNone;
  measure::FrequencyComparison laws;

  int count() const {
    return style + width + position + factor + (frequency != FrequencyFault::kNone);
  }
};

Differences differences_of(const Site& site, const Turned& t) {
  const Rotation& p = t.of_port;
  const Rotation& r = t.of_reference;
  Differences d;
  if (p.width == 0 || r.width == 0) {
    d.width = p.width != r.width;
    return d;
  }
  d.style = p.pairing != r.pairing;
  d.width = p.width != r.width || p.first != r.first;
  d.position = std::abs(p.offset - r.offset) > 1e-3;
  d.factor = std::abs(p.factor - r.factor) > 2 * site.bar * std::abs(r.factor);
  if (p.frequency.size() == r.frequency.size()) {
    d.laws = measure::compare_frequencies(p.frequency, r.frequency, t.tolerance);
    d.frequency = d.laws.fault;
  }
  return d;
}

// One difference alone is that cause; of several, each is a cause only with the others.
std::vector<Finding> if_alone(const Site& site, bool Differences::*question,
                              const std::function<Words(const Turned&)>& words) {
  const auto t = measured(site);
  if (!t) return {};
  const Differences d = differences_of(site, *t);
  if (!(d.*question) || d.count() != 1) return {};
  return {finding_of(site, *t, words(*t))};
}

std::vector<Finding> style(const Site& site) {
  return if_alone(site, &Differences::style, [](const Turned& t) {
    const std::string port(measure::pairing_name(t.of_port.pairing));
    const std::string reference(measure::pairing_name(t.of_reference.pairing));
    return Words{fmt::format("the port rotates pairs of channels as '{}', the reference as '{}'",
                             port, reference),
                 "give the rotation the style '" + reference + "'",
                 {{"pairing", port, reference}}};
  });
}

std::vector<Finding> missing(const Site& site) {
  const auto t = measured(site);
  if (!t || (t->of_port.width == 0) == (t->of_reference.width == 0)) return {};
  const bool is_missing = t->of_port.width == 0;
  return {finding_of(
      site, *t,
      {is_missing ? "the port does not rotate what the reference rotates"
                  : "the port rotates what the reference leaves as it is",
       is_missing ? "rotate in this layer" : "leave the rotation out in this layer (NoPE)",
       {{"rotated channels", std::to_string(t->of_port.width),
         std::to_string(t->of_reference.width)}}})};
}

// No step turns what the reference turns.
std::vector<Finding> left_out(const Site& site) {
  const auto is_rope = [](const SiteStep& step) { return step.op == "rope"; };
  if (!site.path.ends_with("_rot") || std::ranges::any_of(site.steps, is_rope)) return {};
  if (site.port.rank() != 3 || site.reference.elements() != site.port.elements()) return {};
  Turned t{site.port, site.port, reshaped(site.reference, site.port.shape),
           doubles(site.positions)};
  const auto rotation = measure::measure_rotation(t.x, t.reference, t.positions, site.bar);
  if (!rotation || rotation->width == 0) return {};
  t.of_reference = *rotation;
  return {finding_of(site, t,
                     {"the port does not rotate what the reference rotates",
                      "rotate here",
                      {{"rotated channels", "0", std::to_string(rotation->width)}}})};
}

std::vector<Finding> width(const Site& site) {
  const auto t = measured(site);
  if (!t || t->of_port.width == 0 || t->of_reference.width == 0) return {};
  const Differences d = differences_of(site, *t);
  // Another width turns other pairs, whose frequencies cannot be compared.
  if (!d.width || d.style || d.position || d.factor) return {};
  const auto channels = [](const Rotation& r) {
    return fmt::format("{}..{}", r.first, r.first + r.width - 1);
  };
  return {
      finding_of(site, *t,
                 {fmt::format("the port rotates channels {} of a head, the reference {}",
                              channels(t->of_port), channels(t->of_reference)),
                  fmt::format("rotate {} channels (partial_rotary_factor)", t->of_reference.width),
                  {{"rotated channels", channels(t->of_port), channels(t->of_reference)}}})};
}

std::vector<Finding> position(const Site& site) {
  return if_alone(site, &Differences::position, [](const Turned& t) {
    const double by = t.of_port.offset - t.of_reference.offset;
    return Words{fmt::format("the port's positions are off by {:+.4g}", by),
                 "begin positions where the reference does",
                 {{"position of token 0", number_text(t.positions[0] + t.of_port.offset),
                   number_text(t.positions[0] + t.of_reference.offset)}},
                 by == std::round(by) ? 0 : 1};
  });
}

std::vector<Finding> factor(const Site& site) {
  const auto t = measured(site);
  if (!t) return {};
  const Differences d = differences_of(site, *t);
  if (!d.factor || d.count() != 1) return {};
  const Named reference = named(site, t->of_reference.factor, 0);
  const bool is_plain = t->of_reference.factor == 1 || t->of_port.factor == 1;
  const auto scale = site.config_number("rope_scaling.factor");
  const auto scale5 = site.config_number("rope_parameters.factor");
  int n_fitted = t->of_reference.factor == 1 ? 0 : reference.n_fitted;
  // Yarn's own, of the factor that positions are stretched by.
  if (const double s = scale ? *scale : scale5.value_or(1); s > 1) {
    const double yarn = 0.1 * std::log(s) + 1;
    if (std::abs(yarn - t->of_reference.factor) < number_tolerance(site)) n_fitted = 0;
  }
  return {finding_of(
      site, *t,
      {fmt::format("rotated vectors are {} times as long in the port, {} in the reference{}",
                   number_text(t->of_port.factor), reference.text,
                   is_plain ? "" : ", neither of them 1"),
       "multiply cosines and sines with the reference's attention factor",
       {{"attention factor", number_text(t->of_port.factor), number_text(t->of_reference.factor)}},
       n_fitted})};
}

// The frequencies' entry of one kind of difference.
std::vector<Finding> if_frequency(
    const Site& site, std::initializer_list<FrequencyFault> kinds,
    const std::function<std::optional<Words>(Turned&, const Differences&)>& words) {
  auto t = measured(site);
  if (!t) return {};
  const Differences d = differences_of(site, *t);
  if (d.count() != 1 || std::ranges::find(kinds, d.frequency) == kinds.end()) return {};
  const std::optional<Words> said = words(*t, d);
  if (!said) return {};
  return {finding_of(site, *t, *said)};
}

std::vector<double> powers(double base, size_t n, double denominator, double factor) {
  std::vector<double> frequency;
  for (size_t j = 0; j < n; ++j) {
    frequency.push_back(std::pow(base, -2 * static_cast<double>(j) / denominator) / factor);
  }
  return frequency;
}

// The width that the exponents are divided by on the port's side, if the base is the reference's:
// one that the model has.
double other_denominator(const Site& site, double width, double port, double reference) {
  const double denominator = width * std::log(reference) / std::log(port);
  const Geometry& g = site.geometry;
  for (const int64_t candidate : {g.head_dim, g.hidden, 2 * g.head_dim, g.head_dim / 2}) {
    const auto n = static_cast<double>(candidate);
    if (candidate > 0 && n != width && std::abs(n - denominator) < 1e-3 * denominator) return n;
  }
  return 0;
}

std::vector<Finding> base(const Site& site) {
  return if_frequency(
      site, {FrequencyFault::kBase}, [&](Turned& t, const Differences& d) -> std::optional<Words> {
        const auto n = t.of_reference.frequency.size();
        const auto denominator = static_cast<double>(2 * n);
        if (other_denominator(site, denominator, d.laws.port.base, d.laws.reference.base) != 0) {
          return {};
        }
        const Named reference = named(site, d.laws.reference.base, 1e-3);
        const Named port = named(site, d.laws.port.base, 1e-3);
        t.of_reference.frequency = powers(reference.value, n, denominator, d.laws.reference.factor);
        return Words{
            fmt::format("rotary base {} in the port, {} in the reference", port.text,
                        reference.text),
            fmt::format("give the rotary embedding the base {}", reference.text),
            {{"rope_theta", number_text(d.laws.port.base), number_text(d.laws.reference.base)}},
            reference.n_fitted};
      });
}

std::vector<Finding> exponent(const Site& site) {
  return if_frequency(
      site, {FrequencyFault::kBase}, [&](Turned& t, const Differences& d) -> std::optional<Words> {
        const auto n = t.of_reference.frequency.size();
        const auto width = static_cast<double>(2 * n);
        const Named reference = named(site, d.laws.reference.base, 1e-3);
        const double denominator =
            other_denominator(site, width, d.laws.port.base, reference.value);
        if (denominator == 0) return {};
        t.of_port.frequency = powers(reference.value, n, denominator, d.laws.port.factor);
        return Words{fmt::format("the port divides the frequencies' exponents by {}, the reference "
                                 "by the {} channels that turn",
                                 denominator, width),
                     fmt::format("frequency[j] = {}^(-2 j / {})", reference.text, width),
                     {{"denominator", number_text(denominator), number_text(width)}},
                     reference.n_fitted};
      });
}

std::vector<Finding> linear_scaling(const Site& site) {
  return if_frequency(
      site, {FrequencyFault::kLinear}, [&](Turned&, const Differences& d) -> std::optional<Words> {
        const double by = 1 / d.laws.ratio;
        const Named ratio = named(site, by > 1 ? by : 1 / by, 1e-4);
        return Words{fmt::format("the reference divides all frequencies by {}, the port by {} ({} "
                                 "times)",
                                 number_text(d.laws.reference.factor),
                                 number_text(d.laws.port.factor), ratio.text),
                     "apply the linear scaling of positions as the reference does",
                     {{"linear factor", number_text(d.laws.port.factor),
                       number_text(d.laws.reference.factor)}},
                     ratio.n_fitted};
      });
}

std::vector<Finding> scaling(const Site& site) {
  return if_frequency(
      site, {FrequencyFault::kScalingIgnored, FrequencyFault::kScalingAdded},
      [&](Turned&, const Differences& d) -> std::optional<Words> {
        const bool is_ignored = d.frequency == FrequencyFault::kScalingIgnored;
        const double by = is_ignored ? 1 / d.laws.ratio : d.laws.ratio;
        const Named factor = named(site, by, 1e-3);
        return Words{is_ignored
                         ? fmt::format("the reference turns slow pairs up to {} times slower than "
                                       "plain powers of the base, the port does not",
                                       factor.text)
                         : fmt::format("the port turns slow pairs up to {} times slower than plain "
                                       "powers of the base, the reference does not",
                                       factor.text),
                     is_ignored ? "compute frequencies by the rope_type of config.json"
                                : "leave the scaling of frequencies out",
                     {{"slowest pair, times slower", is_ignored ? "1" : number_text(by),
                       is_ignored ? number_text(by) : "1"}},
                     factor.n_fitted};
      });
}

std::vector<Finding> sign(const Site& site) {
  return if_frequency(site, {FrequencyFault::kSign},
                      [](Turned&, const Differences&) -> std::optional<Words> {
                        return Words{"the port rotates the other way: the sign of the sine",
                                     "rotate_half is cat(-x2, x1), not cat(x2, -x1)",
                                     {{"sign of the sine", "-", "+"}}};
                      });
}

std::vector<Finding> order(const Site& site) {
  return if_frequency(site, {FrequencyFault::kOrder},
                      [](Turned&, const Differences&) -> std::optional<Words> {
                        return Words{
                            "the port's pairs turn by the reference's frequencies in "
                            "another order",
                            "give the tables the order that the rotation reads them in",
                            {}};
                      });
}

// Some heads, or some tokens, turn on one side alone.
std::vector<Finding> heads(const Site& site) {
  const auto t = vectors_of(site);
  if (!t || t->x.dim(1) < 2) return {};
  const auto rotation = measure::measure_rotation(t->x, t->reference, t->positions, site.bar);
  if (!rotation || rotation->width == 0) return {};
  const std::vector<bool> same = measure::same_heads(t->x, t->port, site.bar);
  const auto n = static_cast<size_t>(std::ranges::count(same, true));
  if (n == 0 || n == same.size()) return {};
  const Array right = measure::rotate(t->x, t->positions, *rotation);
  Array wrong = right;
  for (int64_t r = 0; r < wrong.rows(); ++r) {
    if (!same[static_cast<size_t>(r % t->x.dim(1))]) continue;
    std::copy_n(t->x.row(r), wrong.width(), wrong.row(r));
  }
  return {with_errors(
      site,
      {fmt::format("the port leaves {} of {} heads as they are", n, same.size()),
       "rotate every head",
       {{"rotated heads", std::to_string(same.size() - n), std::to_string(same.size())}}},
      t->placed(wrong, site.port), t->placed(right, site.reference))};
}

// Angles held in a narrow type: error grows with the position.
std::vector<Finding> low_precision(const Site& site) {
  const auto t = vectors_of(site);
  if (!t || site.dtype != "float32") return {};
  const auto rotation = measure::measure_rotation(t->x, t->reference, t->positions, site.bar);
  if (!rotation || rotation->width == 0) return {};
  const Array right = measure::rotate(t->x, t->positions, *rotation);
  std::vector<Finding> found;
  for (const DType type : {DType::kBFloat16, DType::kFloat16}) {
    for (const bool is_angle : {false, true}) {
      // One token at a time, so that its angles, rounded, are frequencies at position 1.
      Array wrong = right;
      for (int64_t token = 0; token < t->x.dim(0); ++token) {
        Rotation once = *rotation;
        once.offset = 0;
        for (double& f : once.frequency) {
          const double p = t->positions[static_cast<size_t>(token)] + rotation->offset;
          f = is_angle ? measure::rounded(f * p, type) : measure::rounded(f, type) * p;
        }
        const int64_t n = t->x.dim(1);
        Array x = measure::row_range(t->x, token * n, (token + 1) * n);
        x.shape = {1, n, t->x.dim(2)};
        const double one = 1;
        const Array y = measure::rotate(x, {&one, 1}, once);
        std::ranges::copy(y.values, wrong.row(token * n));
      }
      const std::string type_name(dtype_name(type));
      found.push_back(with_errors(site,
                                  {fmt::format("the port holds rotary {} in {}",
                                               is_angle ? "angles" : "frequencies", type_name),
                                   "compute angles in float32",
                                   {{is_angle ? "angles" : "frequencies", type_name, "float32"}}},
                                  wrong, right));
    }
  }
  return found;
}

}  // namespace

std::vector<Cause> rotation_causes() {
  constexpr std::string_view kOps = "rope rotary_embedding", kTaps = "q_rot k_rot";
  return {
      {"rotation_style", 1, "pairing of the rotation", "", kOps, kTaps, style},
      {"rotation_skipped", 7, "rotation on one side alone", "", kOps, kTaps, missing},
      {"rotation_skipped", 7, "rotation left out", "", "*", kTaps, left_out},
      {"rotary_width", 4, "number of rotated channels", "", kOps, kTaps, width},
      {"rotation_offset", 9, "position offset", "", kOps, kTaps, position},
      {"rotation_factor", 13, "attention factor on the rotary tables", "", kOps, kTaps, factor},
      {"rotary_base", 3, "rotary base", "", kOps, kTaps, base},
      {"rotary_exponent", 5, "denominator of the rotary exponents", "", kOps, kTaps, exponent},
      {"rotary_linear", 12, "linear scaling of rotary frequencies", "", kOps, kTaps,
       linear_scaling},
      {"rotary_scaling", 12, "scaling of slow rotary frequencies", "", kOps, kTaps, scaling},
      {"rotation_sign", 8, "sign of the rotation", "", kOps, kTaps, sign},
      {"rotary_table_layout", 8, "layout of the rotary tables", "", kOps, kTaps, order},
      {"rotated_heads", 6, "heads that are rotated", "", kOps, kTaps, heads},
      {"rotary_precision", 11, "precision of rotary angles", "", kOps, kTaps, low_precision},
  };
}

}  // namespace lockstep::parity
