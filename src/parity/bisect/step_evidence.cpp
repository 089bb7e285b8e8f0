#include "parity/bisect/step_evidence.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "parity/anatomy.h"
#include "parity/bisect/rotation_shift.h"
#include "parity/bisect/rows.h"

namespace lockstep::parity {
namespace {

using Kind = StepEvidence::Kind;

/// "0..12", "3", "3, 5, 9 and 4 more".
std::string ranges_of(const std::vector<int64_t>& rows) {
  std::string text;
  size_t n_shown = 0;
  for (size_t i = 0; i < rows.size();) {
    size_t last = i;
    while (last + 1 < rows.size() && rows[last + 1] == rows[last] + 1) ++last;
    if (n_shown++ == 4) return text + fmt::format(" and {} more", rows.size() - i);
    text += text.empty() ? "" : ", ";
    text += i == last ? fmt::format("{}", rows[i]) : fmt::format("{}..{}", rows[i], rows[last]);
    i = last + 1;
  }
  return text;
}

std::string parent_of(const std::string& name) { return name.substr(0, name.rfind('/')); }
std::string last_part(const std::string& name) { return name.substr(name.rfind('/') + 1); }

class Explanation {
 public:
  Explanation(std::span<const int32_t> text, const StepImage& step, const StepImage* before,
              int64_t position, DType dtype, const AtOnce& at_once)
      : text_(text),
        step_(step),
        before_(before),
        position_(position),
        bar_(row_bar(dtype)),
        at_once_(at_once),
        truth_(at_once(step.end, {1, position}, "*")) {}

  StepEvidence run() {
    if (other_tokens() || other_positions() || other_cache() || other_state() || other_tap()) {
      return std::move(evidence_);
    }
    evidence_.look_at = "the logits alone: their rows, or what follows the last tap";
    return std::move(evidence_);
  }

 private:
  bool say(Kind kind, std::string tensor, std::string line, std::string look_at) {
    evidence_.kind = kind;
    evidence_.tensor = std::move(tensor);
    evidence_.lines.insert(evidence_.lines.begin(), std::move(line));
    evidence_.look_at = std::move(look_at);
    return true;
  }

  bool other_tokens() {
    for (size_t i = 0; i < step_.ids.size(); ++i) {
      const auto at = static_cast<size_t>(step_.begin) + i;
      if (at >= text_.size() || step_.ids[i] == text_[at]) continue;
      return say(Kind::kTokens, "@input_ids",
                 fmt::format("position {} was fed token {}, the text has {}", at, step_.ids[i],
                             text_[at]),
                 "who makes the step's ids: the request's tokens, and what is left of them when "
                 "it goes on");
    }
    return false;
  }

  bool other_positions() {
    for (size_t i = 0; i < step_.positions.size(); ++i) {
      const int64_t expected = step_.begin + static_cast<int64_t>(i);
      if (step_.positions[i] == expected) continue;
      return say(Kind::kPosition, "@positions",
                 fmt::format("the token at {} was given position {}: delta {:+}", expected,
                             step_.positions[i], step_.positions[i] - expected),
                 "who counts a sequence's tokens between steps");
    }
    return false;
  }

  // Rows that steps before this one wrote.
  bool other_cache() {
    for (size_t c = 0; c < step_.caches.size(); ++c) {
      const CacheImage& cache = step_.caches[c];
      if (cache.is_state || c >= truth_.caches.size()) continue;
      const CacheImage& truth = truth_.caches[c];
      const size_t n = std::min({cache.rows.size(), truth.rows.size(),
                                 static_cast<size_t>(std::max<int64_t>(0, step_.begin))});
      std::vector<int64_t> wrong;
      for (size_t r = 0; r < n; ++r) {
        if (rows_differ(truth.rows[r], cache.rows[r], bar_)) {
          wrong.push_back(static_cast<int64_t>(r));
        }
      }
      if (wrong.empty()) continue;
      describe_row(cache, truth, wrong.front());
      return say(Kind::kCache, cache.name,
                 fmt::format("{}: of the {} rows written before, {} differ{}: {}", cache.name, n,
                             wrong.size(), wrong.size() == 1 ? "s" : "", ranges_of(wrong)),
                 cache_advice_);
    }
    return false;
  }

  void describe_row(const CacheImage& cache, const CacheImage& truth, int64_t row) {
    const std::vector<float>& found = cache.rows[static_cast<size_t>(row)];
    cache_advice_ = "who writes the cache: the row's page and slot, and what else is written there";
    if (is_zero(found)) {
      evidence_.lines.push_back(fmt::format("row {} is empty: it was never written", row));
      return;
    }
    for (size_t r = 0; r < truth.rows.size(); ++r) {
      if (static_cast<int64_t>(r) == row || rows_differ(truth.rows[r], found, bar_)) continue;
      evidence_.lines.push_back(
          fmt::format("row {} holds what belongs into row {}: overwritten, or another page's", row,
                      r));
      return;
    }
    if (is_unrotated(cache.name, found, row)) {
      evidence_.lines.push_back(fmt::format("row {} is the key before rotation ({}/k)", row,
                                            parent_of(cache.name)));
      cache_advice_ = "what is handed to the cache: the key after rotation belongs there";
      return;
    }
    evidence_.lines.push_back(
        fmt::format("row {} is like no row of the same text (relative difference {:.2g})", row,
                    row_difference(truth.rows[static_cast<size_t>(row)], found)));
  }

  bool is_unrotated(const std::string& cache, const std::vector<float>& found, int64_t row) {
    const std::string module = parent_of(cache);
    const StepImage image = at_once_(row + 1, {row}, module + "/k*");
    const TapRows* key = image.tap(module + "/k");
    return key != nullptr && key->rows.contains(row) &&
           !rows_differ(key->rows.at(row), found, bar_);
  }

  // What the steps before left of a convolution or recurrence.
  bool other_state() {
    if (before_ == nullptr || before_->end != step_.begin || step_.begin == 0) return false;
    const bool has_states = std::ranges::any_of(before_->caches, &CacheImage::is_state);
    if (!has_states) return false;
    const StepImage truth = at_once_(step_.begin, {0}, "");
    for (size_t c = 0; c < before_->caches.size() && c < truth.caches.size(); ++c) {
      const CacheImage& state = before_->caches[c];
      if (!state.is_state || !rows_differ(truth.caches[c].rows[0], state.rows[0], bar_)) continue;
      describe_state(c);
      return say(Kind::kState, state.name,
                 fmt::format("{} after {} tokens: relative difference {:.2g}", state.name,
                             step_.begin, row_difference(truth.caches[c].rows[0], state.rows[0])),
                 "what the step before leaves in the state: its newest inputs, in their order");
    }
    return false;
  }

  void describe_state(size_t c) {
    const std::vector<float>& found = before_->caches[c].rows[0];
    if (is_zero(found)) {
      evidence_.lines.emplace_back("it is the state of a beginning: nothing was kept");
      return;
    }
    for (int64_t n = std::max<int64_t>(1, step_.begin - 4); n < step_.begin; ++n) {
      const StepImage earlier = at_once_(n, {0}, "");
      if (rows_differ(earlier.caches[c].rows[0], found, bar_)) continue;
      evidence_.lines.push_back(fmt::format("it is the state after {} tokens, {} too few", n,
                                            step_.begin - n));
      return;
    }
  }

  bool other_tap() {
    for (const TapRows& tap : step_.taps) {
      const TapRows* truth = truth_.tap(tap.path);
      if (truth == nullptr || !tap.rows.contains(position_)) continue;
      const auto expected = truth->rows.find(position_);
      if (expected == truth->rows.end()) continue;
      const std::vector<float>& found = tap.rows.at(position_);
      if (!rows_differ(expected->second, found, bar_)) continue;
      const double difference = row_difference(expected->second, found);
      if (const auto shift = shift_of(tap, *truth)) {
        return say(Kind::kPosition, tap.path,
                   fmt::format("{} of the token at {}: rotation measured has delta {:+}", tap.path,
                               position_, *shift),
                   "where the module takes its positions from once a cache is there");
      }
      if (tap.is_state) {
        return say(Kind::kState, tap.path,
                   fmt::format("{} after the token at {} differs by {:.2g}; what went into it does "
                               "not",
                               tap.path, position_, difference),
                   "what the steps before left in the state, and what one step makes of it");
      }
      if (const auto other = same_as_row(tap, found)) {
        if (dissect(tap.path).landmark == Landmark::kEmbedding) {
          return say(Kind::kTokens, tap.path,
                     fmt::format("{} of the token at {} is that of the token at {}", tap.path,
                                 position_, *other),
                     "who makes the step's ids: the request's tokens, and what is left of them "
                     "when it goes on");
        }
        return say(Kind::kPosition, tap.path,
                   fmt::format("{} of the token at {} is that of position {}: delta {:+}", tap.path,
                               position_, *other, *other - position_),
                   "where the module takes its positions from once a cache is there");
      }
      if (last_part(tap.path) == "context" && keys_before_rotation(tap.path)) return true;
      return say(Kind::kCompute, tap.path,
                 fmt::format("{} of the token at {} differs by {:.2g}; what it is made of, caches "
                             "and states do not",
                             tap.path, position_, difference),
                 compute_advice());
    }
    return false;
  }

  std::string compute_advice() const {
    return step_.end - step_.begin == 1
               ? "the path for a single new token: another kernel, mask or shape than for many"
               : "what depends on where a step begins: masks, offsets of rows, windows";
  }

  // Tables and embeddings by position alone are those of another position, or of none.
  std::optional<int64_t> same_as_row(const TapRows& tap, const std::vector<float>& found) const {
    const StepImage all = at_once_(static_cast<int64_t>(text_.size()), {}, tap.path);
    const TapRows* rows = all.tap(tap.path);
    if (rows == nullptr || rows->is_state) return std::nullopt;
    // A token's embedding is also that of the same token elsewhere.
    std::optional<int64_t> other;
    for (const auto& [position, row] : rows->rows) {
      if (position == position_ || rows_differ(row, found, bar_)) continue;
      if (!other || std::abs(position - position_) < std::abs(*other - position_)) {
        other = position;
      }
    }
    return other;
  }

  std::optional<int64_t> shift_of(const TapRows& tap, const TapRows& truth) const {
    const std::string part = last_part(tap.path);
    if (part != "q_rot" && part != "k_rot") return std::nullopt;
    const std::string plain = tap.path.substr(0, tap.path.size() - 4);
    const TapRows* before_rotation = truth_.tap(plain);
    if (before_rotation == nullptr || !before_rotation->rows.contains(1) ||
        !before_rotation->rows.contains(position_)) {
      return std::nullopt;
    }
    return rotation_shift({before_rotation->rows.at(1), truth.rows.at(1)},
                          {truth.rows.at(position_), tap.rows.at(position_)}, position_);
  }

  // Keys that are wrong in the same way however the text is fed: what lies in the cache is not what
  // entered the attention.
  bool keys_before_rotation(const std::string& context) {
    const std::string module = parent_of(context);
    for (const CacheImage& cache : step_.caches) {
      if (parent_of(cache.name) != module || last_part(cache.name) != "k_cache") continue;
      const int64_t row = std::min<int64_t>(step_.begin, static_cast<int64_t>(cache.rows.size())) - 1;
      if (row < 1) return false;
      const StepImage image = at_once_(row + 1, {row}, module + "/k_rot");
      const TapRows* rotated = image.tap(module + "/k_rot");
      const std::vector<float>& found = cache.rows[static_cast<size_t>(row)];
      if (rotated == nullptr || !rotated->rows.contains(row) ||
          !rows_differ(rotated->rows.at(row), found, bar_)) {
        return false;
      }
      const bool plain = is_unrotated(cache.name, found, row);
      return say(Kind::kCache, cache.name,
                 fmt::format("{}: row {} is {}, not the rotated key that entered the attention",
                             cache.name, row, plain ? "the key before rotation" : "another"),
                 "what is handed to the cache: the key after rotation belongs there");
    }
    return false;
  }

  std::span<const int32_t> text_;
  const StepImage& step_;
  const StepImage* before_;
  int64_t position_;
  double bar_;
  const AtOnce& at_once_;
  StepImage truth_;
  StepEvidence evidence_;
  std::string cache_advice_;
};

}  // namespace

std::string_view kind_name(StepEvidence::Kind kind) noexcept {
  constexpr std::string_view kNames[] = {"unknown", "tokens", "position",
                                         "cache",   "state",  "compute"};
  return kNames[static_cast<int>(kind)];
}

double row_bar(DType dtype) noexcept { return dtype == DType::kFloat32 ? 1e-4 : 0.1; }

StepEvidence explain_step(std::span<const int32_t> text, const StepImage& step,
                          const StepImage* before, int64_t position, DType dtype,
                          const AtOnce& at_once) {
  return Explanation(text, step, before, position, dtype, at_once).run();
}

}  // namespace lockstep::parity
