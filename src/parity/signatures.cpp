// The triage key: what kind of tap differs first, whether token 0 is clean there, and which simple
// relation of the two tensors fits. With one key a softmax is 1, so that rotation, mask and scale
// cannot show at token 0, unless learned sinks take part.
#include "parity/signatures.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <set>

#include "parity/anatomy.h"
#include "parity/replay_values.h"

namespace lockstep::parity {
namespace {

constexpr int64_t kMostElements = 4 << 20;  // of a tap that is looked at
constexpr double kSpike = 8;                // times as far above the rest as on the other side
constexpr size_t kMostCandidates = 4;

enum class Kind : uint8_t {
  kEmbedding,
  kNorm,
  kProjection,
  kHeadNorm,
  kRotated,
  kScores,
  kAttention,
  kOutput,
  kActivation,
  kFeedForward,
  kRouter,
  kLayer,
  kFinalNorm,
  kLogits,
  kOther
};

Kind kind_of(const TapDiff& tap) {
  if (tap.key == "logits") return Kind::kLogits;
  const std::string& path = tap.port->info.path;
  const Anatomy a = dissect(path);
  if (a.landmark == Landmark::kHead) return Kind::kLogits;
  if (a.landmark == Landmark::kEmbedding) return Kind::kEmbedding;
  if (a.landmark == Landmark::kFinalNorm) return Kind::kFinalNorm;
  if (a.landmark == Landmark::kLayer) return Kind::kLayer;
  const std::string last = path.substr(path.find_last_of("./") + 1);
  const auto has = [&](auto... words) { return ((last.find(words) != last.npos) || ...); };
  if (a.routing) return Kind::kRouter;
  if (has("rot", "k_cache")) return Kind::kRotated;
  if (has("score", "prob")) return Kind::kScores;
  if (has("q_norm", "k_norm", "q_layernorm", "k_layernorm")) return Kind::kHeadNorm;
  if (has("norm", "ln_")) return Kind::kNorm;
  if (has("q_proj", "k_proj", "v_proj", "qkv", "query_key_value", "c_attn", "v_cache")) {
    return Kind::kProjection;
  }
  if (has("o_proj", "out_proj", "down_proj", "dense", "c_proj", "wo")) return Kind::kOutput;
  if (has("act")) return Kind::kActivation;
  if (has("attn", "attention", "mixer")) return Kind::kAttention;
  return has("mlp", "gate", "up", "fc", "ffn") ? Kind::kFeedForward : Kind::kOther;
}

/// Both sides of a tap as rows of channels, in float32.
struct Values {
  Tensor reference, port;
  int64_t rows = 0, channels = 0;

  static std::optional<Values> of(const TapDiff& tap) {
    const RowLayout& layout = tap.metrics.layout;
    const View &r = tap.reference->view, &p = tap.port->view;
    if (layout.rows < 1 || layout.channels < 1 || tap.metrics.elements() > kMostElements ||
        tap.metrics.masked > 0 || r.elements() != p.elements() || !is_floating(r.dtype) ||
        !is_floating(p.dtype)) {
      return std::nullopt;
    }
    const std::vector<int64_t> shape{layout.rows, layout.channels};
    return Values{convert(r, DType::kFloat32, shape), convert(p, DType::kFloat32, shape),
                  layout.rows, layout.channels};
  }
  const float* r(int64_t row) const { return reference.view().as<float>() + row * channels; }
  const float* p(int64_t row) const { return port.view().as<float>() + row * channels; }
};

/// What is left of the difference once `model(row, channel)` is taken for the port, relative to it.
template <class Model>
double left_by(const Values& v, Model model) {
  double left = 0, all = 0;
  for (int64_t t = 0; t < v.rows; ++t) {
    for (int64_t c = 0; c < v.channels; ++c) {
      const double p = v.p(t)[c], d = p - model(t, c);
      left += d * d;
      all += p * p;
    }
  }
  return all > 0 ? std::sqrt(left / all) : 0;
}

struct Fit {
  std::string pattern, meaning;
  double left = 0;  // relative L2 that the pattern does not explain
  int freedom = 0;  // parameters: of two that fit the one with fewer says more
};

class Patterns {
 public:
  Patterns(const TapDiff& tap, const Values& values)
      : tap_(tap), v_(values), kind_(kind_of(tap)), bar_(tap.floor ? bar() : 1e-4) {}

  std::vector<Fit> all() {
    degenerate();
    if (fits_.empty()) {
      factor();
      by_token();
      by_channel();
      additive();
      shifted();
      permuted();
      rotated();
      function();
      unrelated();
    }
    std::stable_sort(fits_.begin(), fits_.end(), [](const Fit& a, const Fit& b) {
      return a.freedom != b.freedom ? a.freedom < b.freedom : a.left < b.left;
    });
    if (fits_.size() > kMostCandidates) fits_.resize(kMostCandidates);
    return std::move(fits_);
  }

 private:
  double bar() const { return tap_.bands.diverged * tap_.floor->total; }

  void add(std::string pattern, std::string meaning, double left, int freedom) {
    fits_.push_back({std::move(pattern), std::move(meaning), left, freedom});
  }
  // Of a model that has to explain nearly everything.
  bool is_fit(double left) const { return left <= std::max(bar_, 1e-3 * tap_.g.total); }

  std::string meaning(std::initializer_list<std::pair<Kind, const char*>> by_kind,
                      const char* otherwise) const {
    for (const auto& [kind, text] : by_kind) {
      if (kind == kind_) return text;
    }
    return otherwise;
  }

  void degenerate() {
    if (tap_.metrics.port_zero) {
      add("the port is 0 everywhere", "a weight that was not loaded, or a value never written", 0,
          0);
    } else if (tap_.metrics.reference_zero) {
      add("the reference is 0 everywhere", "the reference's weight, or its recording", 0, 0);
    }
  }

  void factor() {
    const double alpha = tap_.metrics.sums.alpha(), left = tap_.metrics.sums.residual();
    if (!std::isfinite(alpha) || alpha == 0 || !is_fit(left)) return;
    const double root = alpha * alpha, width = static_cast<double>(v_.channels);
    std::string pattern = fmt::format("the port is {:.6g} times the reference everywhere", alpha);
    if (std::abs(root / width - 1) < 1e-3 || std::abs(root * width - 1) < 1e-3) {
      pattern += fmt::format(" (the square root of the width {}{})", v_.channels,
                             alpha < 1 ? ", inverted" : "");
    }
    if (std::abs(alpha + 1) < 1e-4) pattern = "the port is the reference with the other sign";
    add(pattern,
        meaning(
            {{Kind::kEmbedding, "an embedding multiplier missing or applied twice"},
             {Kind::kScores, "the scale of the scores: head width, mscale or a query scalar"},
             {Kind::kRotated, "an attention factor on the rotary tables (YaRN)"},
             {Kind::kLogits, "a scale of the logits, missing or inverted"},
             {Kind::kRouter, "a routed scaling factor"},
             {Kind::kOutput, "a residual multiplier, an output scale or a reduction over ranks"},
             {Kind::kProjection, "a scale of the weight (quantisation), or of the input"}},
            "a scalar missing or applied twice"),
        left, 1);
  }

  // The best factor of each row or channel; `spread` is how much they vary.
  struct Factors {
    std::vector<double> alpha;
    double spread = 0;
  };
  Factors factors(bool by_row) const {
    const int64_t n = by_row ? v_.rows : v_.channels;
    std::vector<double> rp(n), rr(n);
    for (int64_t t = 0; t < v_.rows; ++t) {
      for (int64_t c = 0; c < v_.channels; ++c) {
        const int64_t i = by_row ? t : c;
        rp[i] += double{v_.r(t)[c]} * v_.p(t)[c];
        rr[i] += double{v_.r(t)[c]} * v_.r(t)[c];
      }
    }
    Factors out;
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; ++i) {
      out.alpha.push_back(rr[i] > 0 ? rp[i] / rr[i] : 1);
      sum += out.alpha.back();
      squares += out.alpha.back() * out.alpha.back();
    }
    const double mean = sum / static_cast<double>(n);
    out.spread = std::sqrt(std::max(0.0, squares / static_cast<double>(n) - mean * mean));
    return out;
  }

  void by_token() {
    if (v_.rows < 2 || v_.channels < 4) return;
    const Factors f = factors(true);
    const double left = left_by(v_, [&](int64_t t, int64_t c) { return f.alpha[t] * v_.r(t)[c]; });
    if (!is_fit(left) || f.spread <= bar_) return;
    const auto [low, high] = std::minmax_element(f.alpha.begin(), f.alpha.end());
    add(fmt::format("one factor a token, {:.5g} to {:.5g}, the same for all channels", *low, *high),
        meaning({{Kind::kNorm, "the norm's epsilon, or where it stands"},
                 {Kind::kFinalNorm, "the norm's epsilon, or where it stands"},
                 {Kind::kRouter, "the weights' normalisation over the chosen experts"},
                 {Kind::kOutput, "a gate of the token (shared expert) left out"},
                 {Kind::kRotated, "a temperature by position"}},
                "a statistic of the token: a norm, a gate, a temperature"),
        left, 3);
  }

  void by_channel() {
    if (v_.rows < 4) return;
    const Factors f = factors(false);
    const double left = left_by(v_, [&](int64_t t, int64_t c) { return f.alpha[c] * v_.r(t)[c]; });
    if (!is_fit(left) || f.spread <= bar_) return;
    add(fmt::format("one factor a channel, the same for all tokens, varying by {:.3g}", f.spread),
        meaning({{Kind::kNorm, "the norm's weight: 1 + w, another norm's, or not loaded"},
                 {Kind::kFinalNorm, "the norm's weight: 1 + w, another norm's, or not loaded"},
                 {Kind::kHeadNorm, "the norm's weight: another's, or not loaded"}},
                "a weight or scale of each channel"),
        left, 4);
  }

  void additive() {
    if (v_.rows < 4) return;
    std::vector<double> row(static_cast<size_t>(v_.channels));
    for (int64_t t = 0; t < v_.rows; ++t) {
      for (int64_t c = 0; c < v_.channels; ++c) row[c] += double{v_.p(t)[c]} - v_.r(t)[c];
    }
    for (double& x : row) x /= static_cast<double>(v_.rows);
    const double left = left_by(v_, [&](int64_t t, int64_t c) { return v_.r(t)[c] + row[c]; });
    if (!is_fit(left)) return;
    add("the difference is one row, the same for all tokens",
        meaning({{Kind::kLogits, "a bias of the head"},
                 {Kind::kEmbedding, "a row added to every token: positions or types"},
                 {Kind::kNorm, "the norm's bias"}},
                "a bias left out, or added more than once"),
        left, 4);
  }

  void shifted() {
    if (v_.rows < 4) return;
    for (const int64_t by : {-2, -1, 1, 2}) {
      double left = 0, all = 0;
      for (int64_t t = std::max<int64_t>(0, -by); t < std::min(v_.rows, v_.rows - by); ++t) {
        for (int64_t c = 0; c < v_.channels; ++c) {
          const double p = v_.p(t)[c], d = p - v_.r(t + by)[c];
          left += d * d;
          all += p * p;
        }
      }
      if (all == 0 || !is_fit(std::sqrt(left / all))) continue;
      add(fmt::format("the port's token t is the reference's token t{:+}", by),
          meaning({{Kind::kEmbedding, "ids shifted: a BOS, or the prompt's first ids"},
                   {Kind::kLogits, "logits gathered from another row"}},
                  "rows gathered one off"),
          std::sqrt(left / all), 1);
    }
  }

  // Each channel of the port is another channel of the reference.
  void permuted() {
    if (v_.rows < 4 || v_.channels > 8192 || v_.channels < 4) return;
    const auto keys = [&](bool port) {
      std::vector<std::pair<std::array<float, 3>, int64_t>> out;
      for (int64_t c = 0; c < v_.channels; ++c) {
        const auto at = [&](int64_t t) { return port ? v_.p(t)[c] : v_.r(t)[c]; };
        out.push_back({{at(0), at(v_.rows / 2), at(v_.rows - 1)}, c});
      }
      std::sort(out.begin(), out.end());
      return out;
    };
    const auto r = keys(false), p = keys(true);
    std::vector<int64_t> from(static_cast<size_t>(v_.channels));
    int64_t moved = 0;
    for (size_t i = 0; i < r.size(); ++i) {
      from[static_cast<size_t>(p[i].second)] = r[i].second;
      moved += p[i].second != r[i].second;
    }
    if (moved == 0) return;
    const double left = left_by(v_, [&](int64_t t, int64_t c) { return v_.r(t)[from[c]]; });
    if (!is_fit(left)) return;
    const bool halves = v_.channels > 2 && from[1] == v_.channels / 2;
    add(fmt::format("{} of {} channels stand at other places", moved, v_.channels),
        halves ? "halves against neighbours: the pairs of the rotation, or an interleaved layout"
               : meaning({{Kind::kProjection, "the layout of a fused or permuted projection"},
                          {Kind::kRotated, "the pairs of the rotation"},
                          {Kind::kAttention, "the order of the heads"}},
                         "the layout of a weight"),
        left, 2);
  }

  // Token 0 and every token's energy are right, and nothing else.
  void rotated() {
    const auto& tokens = tap_.metrics.tokens;
    if (tokens.size() < 4 || !tap_.token0_clean) return;
    double gap = 0;
    size_t first = tokens.size();
    for (size_t t = 0; t < tokens.size(); ++t) {
      const double r = tokens[t].rr, p = tokens[t].port_norm2();
      if (r > 0) gap = std::max(gap, std::abs(std::sqrt(std::max(p, 0.0) / r) - 1));
      if (first == tokens.size() && tokens[t].relative_l2() > bar_) first = t;
    }
    const bool is_rotation = gap < std::max(10 * bar_, 1e-3);
    if (is_rotation && (kind_ == Kind::kRotated || kind_ == Kind::kProjection)) {
      add(fmt::format("token 0 is clean and every token keeps its norm (to {:.1g})", gap),
          "the rotation: pairs, theta, width, scaling or positions", gap, 3);
    } else if (first > 1 && first < tokens.size()) {
      add(fmt::format("tokens 0 to {} are clean, token {} is the first that differs", first - 1,
                      first),
          "what begins there: a window, a chunk, a cache row, a longer context", 0, 3);
    } else if (kind_ == Kind::kAttention || kind_ == Kind::kOutput || kind_ == Kind::kLayer ||
               kind_ == Kind::kScores) {
      add("token 0 is clean, every later token differs",
          "rotation, the scale of the scores, mask or heads (token 0 shows none of them, but with "
          "learned sinks)",
          0, 5);
    }
  }

  // The port as a function of the reference, element by element.
  void function() {
    if (kind_ != Kind::kActivation && kind_ != Kind::kLogits && kind_ != Kind::kScores) return;
    std::vector<std::pair<float, float>> points;
    const int64_t n = v_.rows * v_.channels, step = std::max<int64_t>(1, n / 20'000);
    for (int64_t i = 0; i < n; i += step) {
      points.emplace_back(v_.reference.view().as<float>()[i], v_.port.view().as<float>()[i]);
    }
    std::sort(points.begin(), points.end());
    size_t falls = 0;
    for (size_t i = 1; i < points.size(); ++i) {
      falls += points[i].second < points[i - 1].second - 1e-5f * std::abs(points[i].second);
    }
    if (falls * 200 > points.size()) return;
    add("the port rises with the reference, element by element",
        meaning({{Kind::kLogits, "a soft cap or a scale of the logits: the order is kept"},
                 {Kind::kScores, "a soft cap of the scores"}},
                "another activation function, or a clamp"),
        static_cast<double>(falls) / static_cast<double>(points.size()), 5);
  }

  void unrelated() {
    const Sums& sums = tap_.metrics.sums;
    if (std::abs(sums.cosine()) > 0.15) return;
    add(fmt::format("the two are unrelated: cosine {:.2g}, norms {:.3g} to 1", sums.cosine(),
                    std::sqrt(sums.port_norm2() / std::max(sums.rr, 1e-300))),
        meaning({{Kind::kEmbedding, "another table, or ids that mean something else"},
                 {Kind::kLogits, "another head: tied, untied, or not loaded"}},
                "a weight transposed, of another layer, or not loaded"),
        1, 6);
  }

  const TapDiff& tap_;
  const Values& v_;
  const Kind kind_;
  const double bar_;
  std::vector<Fit> fits_;
};

/// A value far above all others on one side alone.
void add_spike(const RunDiff& run, const TapDiff& tap, DiffReport& report) {
  const auto values = Values::of(tap);
  if (!values.has_value()) return;
  const auto peak = [&](bool port) {
    double most = 0, squares = 0;
    const int64_t n = values->rows * values->channels;
    const float* all = (port ? values->port : values->reference).view().as<float>();
    int64_t at = 0;
    for (int64_t i = 0; i < n; ++i) {
      if (std::abs(all[i]) > most) most = std::abs(all[i]), at = i;
      squares += double{all[i]} * all[i];
    }
    const double rest = std::sqrt(std::max(squares - most * most, 1e-300) / static_cast<double>(n));
    return std::tuple(most / rest, most, at);
  };
  const auto [r, r_most, r_at] = peak(false);
  const auto [p, p_most, p_at] = peak(true);
  if (r < kSpike * p && p < kSpike * r) return;
  const bool in_reference = r > p;
  const int64_t at = in_reference ? r_at : p_at;
  report.findings.push_back(
      {Level::kInfo, "spike", run.port->info.id, tap.key,
       fmt::format("the {} has a massive value, {:.4g} at token {}, channel {} ({:.0f} times the "
                   "rest), and "
                   "the {} is flat there ({:.4g}): {}",
                   in_reference ? "reference" : "port", in_reference ? r_most : p_most,
                   at / values->channels, at % values->channels, in_reference ? r : p,
                   in_reference ? "port" : "reference", in_reference ? p_most : r_most,
                   in_reference
                       ? "what makes it is missing in the port: a weight's outlier, a sink, a norm"
                       : "the port overflows, reads what was not written, or scales twice"),
       ""});
}

void add_candidates(const RunDiff& run, const TapDiff& tap, DiffReport& report) {
  const auto values = Values::of(tap);
  if (!values.has_value()) return;
  for (const Fit& fit : Patterns(tap, *values).all()) {
    std::string text = fmt::format("fits: {}", fit.pattern);
    if (fit.freedom <= 4) text += fmt::format("; left over {:.1g} of it", fit.left);
    report.findings.push_back(
        {Level::kInfo, "candidate", run.port->info.id, tap.key, text + ": " + fit.meaning, ""});
  }
}

}  // namespace

void add_signatures(DiffReport& report) {
  std::set<std::string> told;  // dtypes
  for (const Phase phase : {Phase::kPrefill, Phase::kDecode}) {
    for (const RunDiff& run : report.runs) {
      if (run.first_diverged < 0 || run.port->info.phase != phase) continue;
      if (!told.insert(run.dtype).second) continue;
      const bool at_logits = run.first_diverged == static_cast<int>(run.taps.size());
      const TapDiff& tap =
          at_logits ? *run.logits : run.taps[static_cast<size_t>(run.first_diverged)];
      add_candidates(run, tap, report);
      add_spike(run, tap, report);
    }
  }
}

}  // namespace lockstep::parity
