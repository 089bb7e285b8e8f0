// Refusals for what looks like a divergence and is a fault of the recording.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "parity/anatomy.h"
#include "parity/floor.h"
#include "parity/harness.h"

namespace lockstep::parity {

bool is_clean(const TapDiff& tap) {
  return tap.judgement == Judgement::kClean || tap.judgement == Judgement::kWatch;
}

bool same_value(const TapDiff& own, const View& reference, const View& port, ThreadPool& pool) {
  if (!own.floor || !pair_shapes(reference, port, false)) return false;
  const TapMetrics m = compare(reference, port, {}, pool);
  const double g = m.sums.relative_l2();
  return m.reference_nonfinite + m.port_nonfinite == 0 &&
         g <= own.bands.diverged * own.floor->total && g < own.g.total / 3;
}

namespace {

struct Landmarks {
  std::map<int, const TapDiff*> layers;
  const TapDiff* embedding = nullptr;
  const TapDiff* final_norm = nullptr;

  explicit Landmarks(const RunDiff& run) {
    for (const TapDiff& tap : run.taps) {
      if (tap.port->info.role != TapRole::kOutput || tap.port->info.index != 0) continue;
      const Anatomy a = dissect(tap.port->info.path);
      if (a.landmark == Landmark::kLayer && tap.port->info.call == 0) layers.emplace(a.layer, &tap);
      if (a.landmark == Landmark::kEmbedding && embedding == nullptr) embedding = &tap;
      if (a.landmark == Landmark::kFinalNorm) final_norm = &tap;
    }
  }
};

bool check_shift(const RunDiff& run, const Landmarks& marks, ThreadPool& pool, DiffReport& report) {
  int diverged = 0;
  for (const auto& [layer, tap] : marks.layers) diverged += !is_clean(*tap);
  if (diverged < 1 || marks.layers.size() < 2) return false;
  for (const int shift : {-1, 1}) {
    int hits = 0, misses = 0;
    for (const auto& [layer, tap] : marks.layers) {
      const auto it = marks.layers.find(layer + shift);
      const TapDiff* other = it != marks.layers.end() ? it->second : nullptr;
      if (layer + shift == -1) other = marks.embedding;
      if (other == nullptr) continue;
      const bool hit = same_value(*tap, other->reference->view, tap->port->view, pool);
      (hit ? hits : misses) += 1;
    }
    if (hits == 0 || misses > 0) continue;
    refuse(report, "layer_index_shift", run.port->info.id, marks.layers.begin()->second->key,
           fmt::format("the port's layer i is the reference's layer i{:+} wherever both exist ({} "
                       "layers): the layers of one side are numbered one off",
                       shift, hits));
    return true;
  }
  return false;
}

bool check_post_norm(const RunDiff& run, const Landmarks& marks, ThreadPool& pool,
                     DiffReport& report) {
  if (marks.layers.empty() || marks.final_norm == nullptr) return false;
  const TapDiff& last = *marks.layers.rbegin()->second;
  if (is_clean(last)) return false;
  for (const auto& [layer, tap] : marks.layers) {
    if (tap != &last && !is_clean(*tap)) return false;
  }
  const bool port = same_value(last, marks.final_norm->reference->view, last.port->view, pool);
  if (!port && !same_value(last, last.reference->view, marks.final_norm->port->view, pool)) {
    return false;
  }
  refuse(report, "last_post_norm", run.port->info.id, last.key,
         fmt::format("the {}'s last layer is the other side's final norm: it was recorded after "
                     "the norm",
                     port ? "port" : "reference"));
  return true;
}

enum class Soundness : uint8_t { kUnknown, kSound, kBroken };

/// Masks and probabilities of a decode step have one column for every token so far.
std::string narrow_mask(const Run& run) {
  const auto n = static_cast<int64_t>(run.info.prompt_ids.size());
  for (const Tap& tap : run.taps) {
    const View& v = tap.view;
    const bool is_mask = tap.info.name == "attention_mask" || tap.info.path == "@mask" ||
                         tap.info.path.find("attention_mask") != std::string::npos;
    const bool is_probs =
        tap.info.path.size() > 6 && (tap.info.path.rfind("/probs") == tap.info.path.size() - 6);
    if ((!is_mask && !is_probs) || v.rank == 0) continue;
    const int64_t width = v.dim(-1);
    // A sliding window is narrower than the context, but neither one key nor the prompt alone.
    if (width == 1 || width == n - run.info.step) {
      return fmt::format(
          "{} of the reference's decode step {} is {} wide, the context has {} "
          "tokens",
          tap_key(tap.info), run.info.step, width, n);
    }
  }
  return {};
}

View one_row(const View& view, int64_t row) {
  View out = view;
  out.data = static_cast<std::byte*>(view.data) +
             static_cast<size_t>(row * view.stride[0]) * dtype_size(view.dtype);
  out.shape[0] = 1;
  return out;
}

/// The decode step against a prefill of the same recording that begins with its ids.
Soundness against_prefill(const Run& run, const Recording& reference, ThreadPool& pool,
                          std::string& why) {
  const auto& ids = run.info.prompt_ids;
  for (const Run& prefill : reference.runs) {
    const auto& longer = prefill.info.prompt_ids;
    const auto row = static_cast<int64_t>(ids.size()) - 1 - prefill.first_logit_row;
    if (prefill.info.phase != Phase::kPrefill || prefill.info.dtype != run.info.dtype ||
        longer.size() < ids.size() || !std::equal(ids.begin(), ids.end(), longer.begin()) ||
        !prefill.logits || !run.logits || row < 0 || row >= prefill.logits->view.shape[0]) {
      continue;
    }
    const View a = one_row(prefill.logits->view, row), b = one_row(run.logits->view, 0);
    if (!pair_shapes(a, b, false)) continue;
    const double g = compare(a, b, {}, pool).sums.relative_l2();
    const double bar = run.info.dtype == "float32" ? 1e-4 : 0.1;
    if (g <= bar) return Soundness::kSound;
    why = fmt::format(
        "the reference's decode step {} differs from its own prefill {} by {:.2g} at "
        "the same position",
        run.info.step, prefill.info.id, g);
    return Soundness::kBroken;
  }
  return Soundness::kUnknown;
}

/// The decode step against the greedy text that the same reference generated.
Soundness against_greedy(const Run& run, const Recording& reference, std::string& why) {
  if (!run.logits) return Soundness::kUnknown;
  const auto step = static_cast<size_t>(run.info.step);
  const auto& ids = run.info.prompt_ids;
  for (const GreedyInfo& g : reference.greedy) {
    if (g.dtype != run.info.dtype || g.prompt != run.info.prompt || g.tokens.size() <= step ||
        ids.size() < step ||
        !std::equal(g.tokens.begin(), g.tokens.begin() + run.info.step,
                    ids.end() - run.info.step)) {
      continue;
    }
    const Winner chosen = winner(run.logits->view, run.logits->view.shape[0] - 1);
    if (chosen.id == g.tokens[step]) return Soundness::kSound;
    const double margin = step < g.margins.size() ? g.margins[step] : 1;
    if (margin < 0.05) continue;  // a near tie says nothing
    why = fmt::format(
        "the reference's decode step {} chooses id {}, its own greedy text {} (by a "
        "margin of {:.2g})",
        step, chosen.id, g.tokens[step], margin);
    return Soundness::kBroken;
  }
  return Soundness::kUnknown;
}

bool diverged(const RunDiff& run) { return run.first_diverged >= 0; }

}  // namespace

void check_false_cliffs(RunDiff& run, ThreadPool& pool, DiffReport& report) {
  if (!diverged(run)) return;
  const Landmarks marks(run);
  if (check_shift(run, marks, pool, report)) return;
  if (check_post_norm(run, marks, pool, report)) return;
  check_tap_point(run, pool, report);
}

void check_decode(const RunDiff& run, const Recording& reference, ThreadPool& pool,
                  DiffReport& report) {
  if (run.port->info.phase != Phase::kDecode) return;
  std::string why = narrow_mask(*run.reference);
  Soundness sound = why.empty() ? Soundness::kUnknown : Soundness::kBroken;
  if (sound != Soundness::kBroken) sound = against_prefill(*run.reference, reference, pool, why);
  if (sound != Soundness::kBroken) {
    const Soundness greedy = against_greedy(*run.reference, reference, why);
    if (greedy != Soundness::kUnknown) sound = greedy;
  }
  if (sound == Soundness::kBroken) {
    refuse(report, "decode_mask", run.reference->info.id, "", why);
    return;
  }
  if (!diverged(run) || sound == Soundness::kSound) return;
  const bool prefill_diverged =
      std::any_of(report.runs.begin(), report.runs.end(), [&](const RunDiff& other) {
        return other.port->info.phase == Phase::kPrefill && other.dtype == run.dtype &&
               diverged(other);
      });
  if (prefill_diverged) return;
  refuse(report, "decode_unchecked", run.port->info.id, "",
         fmt::format("decode step {} differs after a clean prefill, and nothing in the recording "
                     "says whether the reference's own step saw the whole context",
                     run.port->info.step));
}

}  // namespace lockstep::parity
