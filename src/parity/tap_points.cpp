// Taps that differ while everything computed from them is clean: recorded at another point, or
// changed after they were recorded.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "parity/anatomy.h"
#include "parity/floor.h"
#include "parity/harness.h"
#include "parity/replay_values.h"

namespace lockstep::parity {
namespace {

constexpr double kFarOff = 30;  // a ratio that no downstream tap could hide
constexpr size_t kInnersSearched = 24;
constexpr double kOne = 1e-3;  // a factor this near to 1 is none

/// What one side's value is instead: another value of the other side, its own sum with another, or
/// a multiple of itself.
struct Relation {
  enum class Kind : uint8_t { kOther, kSum, kFactor };
  Kind kind = Kind::kOther;
  bool of_port = false;  // the port's value is the odd one; else the reference's
  std::string inner;     // of the other tap, below its layer
  int layers_on = 0;     // its layer minus the tap's
  double factor = 1;
};

/// Every token's logits are there and clean: what was computed on the way was right.
bool logits_acquit(const RunDiff& run) {
  if (!run.logits || run.logits->judgement != Judgement::kClean) return false;
  if (run.first_logit_row != 0 || run.port->info.phase != Phase::kPrefill) return false;
  return std::none_of(run.taps.begin(), run.taps.end(), [](const TapDiff& tap) {
    return dissect(tap.port->info.path).landmark == Landmark::kFinalNorm &&
           tap.judgement == Judgement::kDiverged;
  });
}

/// Whether everything that is computed from `tap` is clean: the layer it lies in, all later
/// landmarks and the logits.
bool downstream_clean(const RunDiff& run, const TapDiff& tap) {
  if (!run.logits || !is_clean(*run.logits)) return false;
  const Anatomy own = dissect(tap.port->info.path);
  bool has_enclosing = own.layer < 0 || own.landmark == Landmark::kLayer;
  for (const TapDiff& other : run.taps) {
    if (&other == &tap || other.port->info.role != TapRole::kOutput) continue;
    const Anatomy a = dissect(other.port->info.path);
    if (a.landmark == Landmark::kNone || a.landmark == Landmark::kEmbedding) continue;
    const bool later = a.layer < 0 || a.layer > own.layer ||
                       (a.layer == own.layer && own.landmark != Landmark::kLayer);
    if (!later) continue;
    if (!is_clean(other)) return false;
    has_enclosing = has_enclosing || a.layer == own.layer;
  }
  return has_enclosing;
}

View sum_of(const View& a, const View& b, Tensor& storage) {
  const std::vector<int64_t> shape(a.shape.begin(), a.shape.begin() + a.rank);
  storage = convert(a, DType::kFloat32, shape);
  const Tensor more = convert(b, DType::kFloat32, shape);
  auto* sum = storage.view().as<float>();
  const auto* added = more.view().as<float>();
  for (int64_t i = 0; i < a.elements(); ++i) sum[i] += added[i];
  return storage.view();
}

class Search {
 public:
  Search(const RunDiff& run, ThreadPool& pool) : run_(run), pool_(pool) {}

  /// How `tap` came to differ; nothing where no value of the run says so.
  std::optional<Relation> find(const TapDiff& tap) {
    const std::string inner(dissect(tap.port->info.path).inner);
    if (const auto known = known_.find(inner); known != known_.end()) {
      // What holds in one layer is looked for in the others first.
      if (!known->second.has_value() || holds(tap, *known->second)) return known->second;
    }
    if (known_.size() >= kInnersSearched) return std::nullopt;
    return known_[inner] = look(tap);
  }

  std::string text(const TapDiff& tap, const Relation& relation) const {
    const char* side = relation.of_port ? "port" : "reference";
    const char* other_side = relation.of_port ? "reference" : "port";
    if (relation.kind == Relation::Kind::kFactor) {
      return fmt::format("the {}'s value is {:.6g} times the {}'s", side, relation.factor,
                         other_side);
    }
    const TapDiff* other = find_tap(tap, relation);
    const std::string name = other != nullptr ? other->key : relation.inner;
    return relation.kind == Relation::Kind::kOther
               ? fmt::format("the {}'s value is the {}'s {}", side, other_side, name)
               : fmt::format("the {}'s value has {} added to it", side, name);
  }

 private:
  std::optional<Relation> look(const TapDiff& tap) {
    const int layer = dissect(tap.port->info.path).layer;
    for (const auto kind : {Relation::Kind::kOther, Relation::Kind::kSum}) {
      for (const TapDiff& other : run_.taps) {
        const Anatomy a = dissect(other.port->info.path);
        const int on = a.layer < 0 || layer < 0 ? 0 : a.layer - layer;
        const bool same = kind == Relation::Kind::kOther;
        // Sums are of the residual stream: with what this layer or the next one adds.
        if (&other == &tap || on < 0 || on > (same ? 0 : 1) || (same && a.layer != layer)) continue;
        if (other.port->info.role != TapRole::kOutput) continue;
        for (const bool of_port : {true, false}) {
          const Relation relation{kind, of_port, std::string(a.inner), on, 1};
          if (holds_with(tap, other, relation)) return relation;
        }
      }
    }
    return factor(tap);
  }

  std::optional<Relation> factor(const TapDiff& tap) const {
    const Sums& sums = tap.metrics.sums;
    const double alpha = sums.alpha();
    if (!tap.floor || !std::isfinite(alpha) || alpha == 0) return std::nullopt;
    if (std::abs(alpha - 1) < kOne || sums.residual() > tap.bands.diverged * tap.floor->total) {
      return std::nullopt;
    }
    // Whose it is the numbers do not say: the port's by convention.
    return Relation{Relation::Kind::kFactor, true, "", 0, alpha};
  }

  const TapDiff* find_tap(const TapDiff& tap, const Relation& relation) const {
    const int layer = dissect(tap.port->info.path).layer;
    for (const TapDiff& other : run_.taps) {
      const Anatomy a = dissect(other.port->info.path);
      const bool here = a.layer < 0 || layer < 0 || a.layer == layer + relation.layers_on;
      if (here && a.inner == relation.inner && other.port->info.role == TapRole::kOutput) {
        return &other;
      }
    }
    return nullptr;
  }

  bool holds(const TapDiff& tap, const Relation& relation) const {
    if (relation.kind == Relation::Kind::kFactor) {
      const auto own = factor(tap);
      return own.has_value() && std::abs(own->factor / relation.factor - 1) < kOne;
    }
    const TapDiff* other = find_tap(tap, relation);
    return other != nullptr && holds_with(tap, *other, relation);
  }

  bool holds_with(const TapDiff& tap, const TapDiff& other, const Relation& relation) const {
    const View odd = relation.of_port ? tap.port->view : tap.reference->view;
    const View right = relation.of_port ? other.reference->view : other.port->view;
    if (relation.kind == Relation::Kind::kOther) return same_value(tap, right, odd, pool_);
    const View own = relation.of_port ? tap.reference->view : tap.port->view;
    if (own.elements() != right.elements() || !is_floating(own.dtype) ||
        !is_floating(right.dtype)) {
      return false;
    }
    Tensor storage;
    return same_value(tap, sum_of(own, right, storage), odd, pool_);
  }

  const RunDiff& run_;
  ThreadPool& pool_;
  std::map<std::string, std::optional<Relation>> known_;  // by inner path
};

struct Explained {
  std::vector<TapDiff*> taps;
  std::string first, where;
  bool changed = false;  // after it was recorded
};

void tell(RunDiff& run, const Explained& found, DiffReport& report) {
  const char* note = found.changed ? "changed after it was recorded" : "tapped at another point";
  for (TapDiff* tap : found.taps) {
    tap->judgement = Judgement::kUnjudged;
    tap->note = note;
  }
  find_first_diverged(run);
  const std::string code = found.changed ? "mutated_tensor" : "tap_point";
  const std::string message =
      fmt::format("{} taps differ and everything computed from them is clean: they were {}{}{}",
                  found.taps.size(),
                  found.changed ? "changed after they were recorded" : "recorded at another point",
                  found.where.empty() ? "" : "; ", found.where);
  if (run.first_diverged < 0) {
    refuse(report, code, run.port->info.id, found.first, message);
  } else {
    report.findings.push_back({Level::kWatch, code, run.port->info.id, found.first, message, ""});
  }
}

}  // namespace

void check_tap_point(RunDiff& run, ThreadPool& pool, DiffReport& report) {
  const bool acquitted = logits_acquit(run);
  Search search(run, pool);
  Explained moved, changed;
  changed.changed = true;
  for (TapDiff& tap : run.taps) {
    if (tap.judgement != Judgement::kDiverged) continue;
    const bool clean = downstream_clean(run, tap);
    if (!clean && !acquitted) continue;
    const auto relation = search.find(tap);
    // Without another value that explains it the strict rule alone counts: what follows a norm
    // hides a factor.
    const bool is_named = relation.has_value() && relation->kind != Relation::Kind::kFactor;
    if (!is_named && !(clean && tap.ratio > kFarOff)) continue;
    const bool is_change = is_named && relation->kind == Relation::Kind::kSum;
    Explained& into = is_change ? changed : moved;
    if (into.taps.empty()) into.first = tap.key;
    if (into.where.empty() && relation.has_value()) into.where = search.text(tap, *relation);
    into.taps.push_back(&tap);
  }
  if (!changed.taps.empty()) tell(run, changed, report);
  if (!moved.taps.empty()) tell(run, moved, report);
}

}  // namespace lockstep::parity
