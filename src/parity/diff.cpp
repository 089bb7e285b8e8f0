#include "parity/diff.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <unordered_map>

#include "base/glob.h"
#include "lockstep/error.h"
#include "parity/anatomy.h"
#include "parity/floor.h"
#include "parity/greedy_texts.h"
#include "parity/harness.h"
#include "parity/judge.h"
#include "parity/prompt_difference.h"
#include "parity/repeated_calls.h"
#include "parity/routing.h"
#include "parity/signatures.h"
#include "parity/verdict.h"

namespace lockstep::parity {

std::string_view judgement_name(Judgement j) noexcept {
  constexpr std::string_view kNames[] = {"clean", "watch", "DIVERGED", "unjudged"};
  return kNames[static_cast<int>(j)];
}
std::string_view level_name(Level level) noexcept {
  constexpr std::string_view kNames[] = {"info", "watch", "diverged", "refusal"};
  return kNames[static_cast<int>(level)];
}
std::string_view outcome_name(Outcome outcome) noexcept {
  constexpr std::string_view kNames[] = {"pass", "diverged", "undecided"};
  return kNames[static_cast<int>(outcome)];
}

bool DiffReport::refused(std::string_view code) const noexcept {
  return std::any_of(findings.begin(), findings.end(), [&](const DiffFinding& f) {
    return f.level == Level::kRefusal && f.code == code;
  });
}

void find_first_diverged(RunDiff& run) {
  run.first_diverged = -1;
  for (size_t i = 0; i < run.taps.size(); ++i) {
    // An input is some other tap's output; it is blamed only where no output differs.
    if (run.taps[i].judgement == Judgement::kDiverged &&
        run.taps[i].port->info.role == TapRole::kOutput) {
      run.first_diverged = static_cast<int>(i);
      return;
    }
  }
  for (size_t i = 0; i < run.taps.size(); ++i) {
    if (run.taps[i].judgement == Judgement::kDiverged) {
      run.first_diverged = static_cast<int>(i);
      return;
    }
  }
  if (run.logits && run.logits->judgement == Judgement::kDiverged) {
    run.first_diverged = static_cast<int>(run.taps.size());
  }
}

namespace {

/// A module's place that means the same under any naming: "embedding", "layer 3", "final norm".
std::string landmark_key(const Tap& tap) {
  if (tap.info.role != TapRole::kOutput || tap.info.call != 0 || tap.info.index != 0) return {};
  const Anatomy a = dissect(tap.info.path);
  switch (a.landmark) {
    case Landmark::kEmbedding:
      return "embedding";
    case Landmark::kLayer:
      return fmt::format("layer {}", a.layer);
    case Landmark::kFinalNorm:
      return "final norm";
    default:
      return {};
  }
}

class Differ {
 public:
  Differ(const Recording& reference, const std::vector<const Recording*>& floors,
         const Recording& port, const DiffOptions& options, ThreadPool& pool)
      : reference_(reference),
        port_(port),
        options_(options),
        pool_(pool),
        floors_(reference_runs(reference, floors), pool) {}

  DiffReport run() {
    report_.strict = options_.strict;
    report_.validate_only = options_.validate_only;
    check_recording(reference_, "reference", report_);
    check_recording(port_, "port", report_);
    for (const Run& run : port_.runs) pair_run(run);
    if (report_.runs.empty() && report_.findings.empty()) {
      refuse(report_, "different_prompts", "", "", first_difference());
    }
    report_unmatched();
    for (RunDiff& run : report_.runs) check_run(run, report_);
    check_across_runs(report_);
    const bool readable =
        std::none_of(report_.findings.begin(), report_.findings.end(),
                     [](const DiffFinding& f) { return f.level == Level::kRefusal; });
    if (readable && !options_.validate_only) {
      for (RunDiff& run : report_.runs) {
        check_reference(run, report_);
        check_false_cliffs(run, pool_, report_);
      }
      // Of a reference that knows nothing its decode steps say nothing.
      if (!report_.refused("reference_not_loaded")) {
        for (const RunDiff& run : report_.runs) check_decode(run, reference_, pool_, report_);
      }
    }
    if (readable && !options_.validate_only) check_texts(reference_, port_, report_);
    decide(reference_, port_, options_, report_);
    if (report_.outcome == Outcome::kDiverged) add_signatures(report_);
    return std::move(report_);
  }

 private:
  static std::vector<ReferenceRun> reference_runs(const Recording& reference,
                                                  const std::vector<const Recording*>& floors) {
    std::vector<ReferenceRun> out;
    for (const Run& run : reference.runs) out.push_back({&run, true});
    for (const Recording* other : floors) {
      for (const Run& run : other->runs) out.push_back({&run, false});
    }
    return out;
  }

  void pair_run(const Run& port) {
    if (port.info.prompt_ids.size() < 2) return;  // check_recording() told
    if (port.taps.empty() && !port.logits) return;
    const Run* truth = floors_.truth_for(port.info, port.info.dtype);
    if (truth == nullptr) {
      if (floors_.has_ids(port.info)) {
        refuse(report_, "wrong_dtype", port.info.id, "",
               fmt::format("the reference recorded these ids, but neither in float32 nor in {}",
                           port.info.dtype));
      } else {
        unmatched_.push_back(&port);
      }
      return;
    }
    RunDiff run;
    run.reference = truth;
    run.port = &port;
    run.dtype = port.info.dtype;
    run.first_logit_row = port.first_logit_row;
    pair_taps(run);
    resolve_dtype(run);
    run.floor_source = floors_.source(run.dtype);
    const auto keys = static_cast<int64_t>(port.info.prompt_ids.size());
    rerouting_.emplace(router(), port.info.phase == Phase::kPrefill ? keys : 1);
    find_context(run);
    for (TapDiff& tap : run.taps) judge(run, tap, match_key(tap.reference->info), false);
    pair_logits(run);
    run.elsewhere = rerouting_->elsewhere();
    find_first_diverged(run);
    report_.runs.push_back(std::move(run));
  }

  /// Which tokens in the cache of a decode step went elsewhere when they were computed.
  void find_context(const RunDiff& run) {
    const RunInfo& own = run.port->info;
    context_.assign(own.prompt_ids.size(), false);
    if (own.phase != Phase::kDecode) return;
    for (const RunDiff& before : report_.runs) {
      const RunInfo& info = before.port->info;
      const auto &ids = own.prompt_ids, &earlier = info.prompt_ids;
      const bool cached = before.dtype == run.dtype && info.attention == own.attention &&
                          info.prompt == own.prompt && info.step < own.step &&
                          earlier.size() < ids.size() &&
                          std::equal(earlier.begin(), earlier.end(), ids.begin());
      if (!cached) continue;
      const size_t first = earlier.size() - before.elsewhere.size();
      for (size_t t = 0; t < before.elsewhere.size(); ++t) {
        context_[first + t] = context_[first + t] || before.elsewhere[t];
      }
    }
  }

  bool wanted(const std::string& key, const std::string& path) const {
    const auto hits = [&](const std::string& glob) {
      return glob_match(glob, key) || glob_match(glob, path);
    };
    if (std::any_of(options_.skip.begin(), options_.skip.end(), hits)) return false;
    return options_.taps.empty() || std::any_of(options_.taps.begin(), options_.taps.end(), hits);
  }

  /// The port's tap for each of the reference's, by key and then by landmark.
  std::vector<std::pair<const Tap*, const Tap*>> matches(const Run& reference,
                                                         const Run& port) const {
    const auto reordered = reordered_calls(reference, port, pool_);
    std::unordered_map<std::string, const Tap*> by_key, by_landmark;
    std::unordered_map<std::string, std::string> by_args;
    for (const Tap& tap : port.taps) {
      by_key.emplace(tap_key(tap.info), &tap);
      if (!tap.info.args.empty()) by_args.emplace(match_key(tap.info), tap_key(tap.info));
    }
    // By arguments where both recorded them, else by content, else by the call's number.
    const auto port_key = [&](TapInfo info) {
      if (const auto same = by_args.find(match_key(info)); same != by_args.end()) {
        return same->second;
      }
      if (const auto calls = reordered.find(info.path); calls != reordered.end()) {
        const auto call = calls->second.find(info.call);
        if (call != calls->second.end()) info.call = call->second;
      }
      return tap_key(info);
    };
    std::vector<std::pair<const Tap*, const Tap*>> out;
    std::set<std::string> used;
    for (const Tap& tap : reference.taps) {
      const auto it = by_key.find(port_key(tap.info));
      out.emplace_back(&tap, it == by_key.end() ? nullptr : it->second);
      if (it != by_key.end()) {
        used.insert(landmark_key(tap));
        by_key.erase(it);
      }
    }
    for (const auto& [key, tap] : by_key) {
      const std::string landmark = landmark_key(*tap);
      if (!landmark.empty() && !used.contains(landmark)) by_landmark.emplace(landmark, tap);
    }
    for (auto& [ref, found] : out) {
      if (found != nullptr) continue;
      const std::string landmark = landmark_key(*ref);
      const auto it = by_landmark.find(landmark);
      if (landmark.empty() || used.contains(landmark) || it == by_landmark.end()) continue;
      found = it->second;
      used.insert(landmark);
    }
    return out;
  }

  void pair_taps(RunDiff& run) {
    auto pairs = matches(*run.reference, *run.port);
    if (!reference_.ordered && port_.ordered) {
      std::unordered_map<const Tap*, size_t> order;
      for (const Tap& tap : run.port->taps) order.emplace(&tap, order.size());
      std::stable_sort(pairs.begin(), pairs.end(), [&](const auto& a, const auto& b) {
        const auto at = [&](const Tap* t) { return t == nullptr ? order.size() : order.at(t); };
        return at(a.second) < at(b.second);
      });
    }
    put_choices_first(pairs);
    std::set<const Tap*> used;
    for (const auto& [ref, port] : pairs) {
      const std::string key = tap_key(ref->info);
      if (port == nullptr) {
        run.only_in_reference.push_back(key);
        continue;
      }
      used.insert(port);
      const bool by_expert = sorted_by_expert(run, *ref, *port);
      if (by_expert || dissect(ref->info.path).dispatch || !wanted(key, ref->info.path)) {
        (by_expert ? run.by_expert : run.left_out).push_back(key);
        continue;
      }
      compare_tap(run, *ref, *port);
    }
    for (const Tap& tap : run.port->taps) {
      if (!used.contains(&tap)) run.only_in_port.push_back(tap_key(tap.info));
    }
  }

  /// A block's choice of experts is written when the block ends: it has to be known before what its
  /// experts computed is judged.
  static void put_choices_first(std::vector<std::pair<const Tap*, const Tap*>>& pairs) {
    for (auto at = pairs.begin(); at != pairs.end(); ++at) {
      const std::string& path = at->first->info.path;
      const size_t slash = path.find('/');
      if (slash == path.npos || !dissect(path).routing) continue;
      const std::string experts = path.substr(0, slash) + ".experts";
      const auto first = std::find_if(pairs.begin(), at, [&](const auto& pair) {
        return pair.first->info.path.starts_with(experts);
      });
      std::rotate(first, at, at + 1);
    }
  }

  const RouterConfig& router() const {
    return reference_.router.experts > 0 ? reference_.router : port_.router;
  }

  bool sorted_by_expert(const RunDiff& run, const Tap& ref, const Tap& port) const {
    const auto keys = static_cast<int64_t>(run.port->info.prompt_ids.size());
    const int64_t tokens = run.port->info.phase == Phase::kPrefill ? keys : 1;
    return is_sorted_by_expert(ref, tokens, router()) ||
           is_sorted_by_expert(port, tokens, router());
  }

  void compare_tap(RunDiff& run, const Tap& ref, const Tap& port) {
    TapDiff tap;
    tap.reference = &ref;
    tap.port = &port;
    tap.key = tap_key(port.info);
    CompareOptions options = compare_options(*run.reference, ref, port);
    options.per_channel = options_.keep_channels;
    const View reference = newest_rows(run.port->info, ref.view, port.view);
    if (!pair_shapes(reference, port.view, options.heads_first)) {
      refuse_shapes(run, tap.key, ref.view, port.view);
      return;
    }
    if (reference.elements() == 0) {
      refuse(report_, "empty_dump", run.port->info.id, tap.key,
             fmt::format("the tap has no elements: {}", to_string(ref.view)));
      return;
    }
    tap.metrics = compare(reference, port.view, options, pool_);
    report_.bytes += reference.bytes() + port.view.bytes();
    run.taps.push_back(std::move(tap));
  }

  /// What the reference computes at a decode step for all tokens so far, and the port for the new
  /// ones (the keys and values of cached latents): the rows of these.
  static View newest_rows(const RunInfo& info, const View& reference, const View& port) {
    const int rank = reference.rank;
    if (info.phase != Phase::kDecode || rank < 2 || port.rank < 2) return reference;
    for (int i = 0; i < rank - 2; ++i) {
      if (reference.shape[i] != 1) return reference;
    }
    const int64_t rows = reference.shape[rank - 2], n_new = port.rows();
    if (rows != static_cast<int64_t>(info.prompt_ids.size()) || n_new >= rows ||
        reference.shape[rank - 1] != port.dim(-1)) {
      return reference;
    }
    View newest = reference;
    newest.shape[rank - 2] = n_new;
    newest.data = static_cast<std::byte*>(reference.data) +
                  static_cast<size_t>((rows - n_new) * reference.stride[rank - 2]) *
                      dtype_size(reference.dtype);
    return newest;
  }

  void refuse_shapes(const RunDiff& run, const std::string& key, const View& ref,
                     const View& port) {
    // numpy would stretch a dimension of 1, or put one in front, and compare happily.
    bool stretches = true;
    for (int i = 1; i <= std::min(ref.rank, port.rank); ++i) {
      const int64_t a = ref.shape[ref.rank - i], b = port.shape[port.rank - i];
      stretches = stretches && (a == b || a == 1 || b == 1);
    }
    refuse(report_, stretches ? "broadcast_shape" : "shape_mismatch", run.port->info.id, key,
           fmt::format("reference {}, port {}{}", to_string(ref), to_string(port),
                       stretches ? ": comparing them would broadcast one over the other" : ""));
  }

  /// Files that do not say their dtype: bfloat16 shows in the values.
  void resolve_dtype(RunDiff& run) const {
    if (!run.dtype.empty()) return;
    run.dtype = run.reference->info.dtype;
    if (!run.dtype.empty()) return;
    bool narrow = !run.taps.empty();
    for (const TapDiff& tap : run.taps) {
      narrow = narrow && ((tap.metrics.port_bits | tap.metrics.reference_bits) & 0xffffu) == 0;
    }
    run.dtype = narrow ? "bfloat16" : "float32";
  }

  void judge(RunDiff& run, TapDiff& tap, const std::string& key, bool is_logits);
  void weigh_routing(const RunDiff& run, TapDiff& tap);
  void weigh_apart(const TapDiff& tap, const TapMetrics& rest,
                   const std::function<void(std::string)>& suspect) const;
  void pair_logits(RunDiff& run);
  void report_unmatched();
  std::string first_difference() const;

  const Recording& reference_;
  const Recording& port_;
  const DiffOptions& options_;
  ThreadPool& pool_;
  Floors floors_;
  DiffReport report_;
  std::vector<const Run*> unmatched_;
  std::optional<Rerouting> rerouting_;  // of the run at hand, so far
  std::vector<bool> context_;           // tokens elsewhere in the cache of the decode step at hand
};

void Differ::judge(RunDiff& run, TapDiff& tap, const std::string& key, bool is_logits) {
  TapMetrics& m = tap.metrics;
  tap.g = floors_.profile(m, key);
  tap.bands = bands_for(m.elements() - m.masked, options_.strict);
  if (options_.validate_only || m.reference_nonfinite + m.port_nonfinite > 0) return;
  if (m.mask_mismatches > 0) {
    tap.judgement = Judgement::kDiverged;
    tap.token0_clean = m.mask_place.token != 0;
    tap.note = fmt::format("masked on one side only at {} places, first at {}/{}",
                           m.mask_mismatches, m.mask_place.token, m.mask_place.channel);
    return;
  }
  if (!is_floating(tap.reference->view.dtype) && !is_floating(tap.port->view.dtype)) {
    // Other experts at a near tie are no fault by themselves: what they compute is judged.
    const bool routing = dissect(tap.port->info.path).routing;
    tap.judgement = m.sums.dd == 0 ? Judgement::kClean
                    : routing      ? Judgement::kWatch
                                   : Judgement::kDiverged;
    if (m.sums.dd != 0) tap.note = routing ? "other experts were chosen" : "integers differ";
    if (const int64_t token = rerouting_->look(tap, run.rerouted); token >= 0) {
      tap.judgement = Judgement::kDiverged;
      tap.note = fmt::format("token {} went to other experts by a clear margin", token);
    }
    return;
  }
  tap.floor = floors_.floor(run.dtype, run.port->info.phase, key, is_logits);
  const double largest = run.dtype == "float32" ? kLargestFloat32Floor : kLargestFloor;
  if (!tap.floor || tap.floor->total > largest) {
    const bool exact = tap.g.total == 0;
    tap.judgement = exact ? Judgement::kClean : Judgement::kUnjudged;
    tap.note = exact ? "bit-equal" : tap.floor ? "the reference differs from itself" : "no floor";
    if (tap.floor && !exact) {
      tap.note += fmt::format(" by {:.2g}", tap.floor->total);
      tap.floor.reset();
    }
    return;
  }
  judge_parts(tap);
  rerouting_->look(tap, run.rerouted);
  if (tap.judgement == Judgement::kDiverged) weigh_routing(run, tap);
  if (!m.tokens.empty()) {
    const Sums& first = m.tokens.front();
    tap.token0_g = first.relative_l2();
    tap.token0_clean =
        first.dd <= 0 || tap.token0_g <= token_band(tap) * tap.bands.diverged * tap.floor->token;
  }
  if (tap.judgement == Judgement::kClean && !options_.keep_tokens) {
    m.tokens.clear();
    m.tokens.shrink_to_fit();
  }
}

/// In low precision a near tie sends single tokens to other experts, on sound ports too. What
/// routers recorded says which, and the rest is judged as ever. Where the rest is apart as well,
/// but for few tokens or by little, those may have met the others through attention, or gone
/// elsewhere themselves where no router was recorded. The same prompt in float32 acquits the first;
/// nothing acquits the second.
void Differ::weigh_routing(const RunDiff& run, TapDiff& tap) {
  if (!(reference_.has_experts || port_.has_experts) || run.dtype == "float32") return;
  const int64_t elsewhere = rerouting_->count(), all = rerouting_->tokens();
  const auto suspect = [&](std::string note) {
    tap.judgement = Judgement::kUnjudged;
    tap.maybe_routing = true;
    tap.note = std::move(note);
  };
  const bool is_cache =
      tap.port->info.path.ends_with("/k_cache") || tap.port->info.path.ends_with("/v_cache");
  if (elsewhere > 0 && elsewhere == all && !is_cache) {
    return suspect(fmt::format("all {} tokens chose other experts", all));
  }
  const auto in_context = std::count(context_.begin(), context_.end(), true);
  TapMetrics rest = tap.metrics;
  double ratio = tap.ratio;
  std::vector<bool> left_out = rerouting_->elsewhere();
  if (is_cache) {
    // A window keeps the last tokens; the run's own are at the end.
    left_out = context_;
    for (int64_t t = 0; t < all; ++t) {
      if (rerouting_->at(t)) left_out[left_out.size() - static_cast<size_t>(all - t)] = true;
    }
    const auto rows = std::min(tap.metrics.layout.rows, std::ssize(left_out));
    left_out.erase(left_out.begin(), left_out.end() - rows);
  }
  const auto n_out = std::count(left_out.begin(), left_out.end(), true);
  if (n_out > 0 &&
      static_cast<double>(n_out) <= kMostRerouted * static_cast<double>(left_out.size())) {
    const CompareOptions options = compare_options(*run.reference, *tap.reference, *tap.port);
    if (auto kept = compare_rest(tap, left_out, options, pool_)) {
      TapDiff others = tap;
      others.metrics = std::move(*kept);
      others.g = others.metrics.profile();
      others.bands = bands_for(others.metrics.elements(), options_.strict);
      others.ratio = 0;
      others.note.clear();
      judge_parts(others);
      if (others.judgement != Judgement::kDiverged) {
        const std::string note =
            fmt::format("{} of {} tokens chose other experts; the rest: g/f {:.2f}", n_out,
                        left_out.size(), others.ratio);
        if (rerouting_->unproven()) return suspect(note + "; their margins were not recorded");
        tap.judgement = Judgement::kWatch;
        tap.note = note;
        return;
      }
      rest = std::move(others.metrics);
      ratio = others.ratio;
    }
  }
  if (in_context > 0 && ratio <= kAttendedBand * tap.bands.diverged) {
    return suspect(fmt::format("{} tokens of its context chose other experts", in_context));
  }
  // Where every choice is known, only attention to the tokens elsewhere is left as an excuse.
  if (rerouting_->complete() && (elsewhere == 0 || ratio > kAttendedBand * tap.bands.diverged)) {
    return;
  }
  weigh_apart(tap, rest, suspect);
  tap.choice_unknown = tap.maybe_routing && !rerouting_->complete();
}

void Differ::weigh_apart(const TapDiff& tap, const TapMetrics& rest,
                         const std::function<void(std::string)>& suspect) const {
  const auto& tokens = rest.tokens;
  if (tokens.empty()) return;
  // The floor's worst token may have gone elsewhere itself; then the middle one is the measure.
  std::vector<double> g;
  for (const TokenMetrics& token : tokens) g.push_back(token.relative_l2());
  std::nth_element(g.begin(), g.begin() + std::ssize(g) / 2, g.end());
  const double usual = std::min(tap.floor->token, g[g.size() / 2]);
  Sums near;
  int64_t apart = 0, first = -1;
  for (size_t t = 0; t < tokens.size(); ++t) {
    if (tokens[t].relative_l2() <= kTokenBand * tap.bands.diverged * usual) {
      near += tokens[t];
      continue;
    }
    if (++apart == 1) first = static_cast<int64_t>(t);
  }
  const auto few = std::max<int64_t>(1, std::ssize(tokens) / 10);
  if (apart == 0 || apart > few || apart == std::ssize(tokens) ||
      near.relative_l2() > tap.bands.diverged * tap.floor->total) {
    return;
  }
  // What is left of the tokens before the first one elsewhere has its own numbers.
  if (rerouting_->complete() && first < rerouting_->first()) return;
  suspect(fmt::format("{} of {} tokens apart: other experts? {}", apart, tokens.size(),
                      rerouting_->count() > 0
                          ? fmt::format("{} more chose others", rerouting_->count())
                          : "no router's choice was recorded that shows it"));
}

void Differ::pair_logits(RunDiff& run) {
  const Run &ref = *run.reference, &port = *run.port;
  if (!ref.logits || !port.logits) return;
  if (!wanted("logits", "logits")) {
    run.left_out.push_back("logits");
    return;
  }
  // Either side may have kept the last rows only; the rows both have are compared.
  const auto end = [](const Run& r) { return r.first_logit_row + r.logits->view.shape[0]; };
  const int64_t first = std::max(ref.first_logit_row, port.first_logit_row);
  if (ref.logits->view.shape[1] != port.logits->view.shape[1] || end(ref) != end(port) ||
      first >= end(ref)) {
    refuse_shapes(run, "logits", ref.logits->view, port.logits->view);
    return;
  }
  const auto rows_from = [&](const Run& r) {
    View v = r.logits->view;
    v.data = static_cast<std::byte*>(v.data) +
             static_cast<size_t>((first - r.first_logit_row) * v.stride[0]) * dtype_size(v.dtype);
    v.shape[0] = end(r) - first;
    return v;
  };
  const View r = rows_from(ref), p = rows_from(port);
  if (r.elements() == 0) {
    refuse(report_, "empty_dump", port.info.id, "logits", "the logits have no elements");
    return;
  }
  run.first_logit_row = first;
  TapDiff tap;
  tap.reference = &*ref.logits;
  tap.port = &*port.logits;
  tap.key = "logits";
  CompareOptions options;
  options.drop_reference = ref.logits->mapped;
  options.drop_port = port.logits->mapped;
  options.per_channel = options_.keep_channels;
  tap.metrics = compare(r, p, options, pool_);
  report_.bytes += r.bytes() + p.bytes();
  judge(run, tap, "logits", true);
  const bool finite = tap.metrics.reference_nonfinite + tap.metrics.port_nonfinite == 0;
  if (finite && !options_.validate_only) {
    run.ranks = compare_logits(r, p, ref.logits->mapped && port.logits->mapped, pool_);
    for (Flip& flip : run.ranks->flips) {
      // Two logits of noise f each, four deviations apart.
      const double f = tap.floor ? tap.floor->total : 0;
      flip.tie = flip.margin <= 4 * std::sqrt(2.0) * f * flip.rms;
    }
  }
  run.logits = std::move(tap);
}

std::string Differ::first_difference() const {
  if (port_.runs.empty() || reference_.runs.empty()) return "one side has no runs";
  const Run& port = port_.runs.front();
  const Run* like = &reference_.runs.front();
  for (const Run& run : reference_.runs) {
    if (run.info.phase == port.info.phase && run.info.prompt == port.info.prompt) {
      like = &run;
      break;
    }
  }
  const auto &r = like->info.prompt_ids, &p = port.info.prompt_ids;
  return fmt::format("run {} of the port has {} ids, {} of the reference {}: {}", port.info.id,
                     p.size(), like->info.id, r.size(), prompt_difference(r, p));
}

void Differ::report_unmatched() {
  for (const Run* run : unmatched_) {
    const auto same_prompt = [&](const Run& r) {
      return r.info.phase == run->info.phase && r.info.prompt == run->info.prompt &&
             r.info.step == run->info.step && r.info.prompt_ids.size() >= 2;
    };
    const auto clash = std::find_if(reference_.runs.begin(), reference_.runs.end(), same_prompt);
    if (clash != reference_.runs.end() && run->info.phase == Phase::kPrefill &&
        !report_.runs.empty()) {
      refuse(report_, "different_prompts", run->info.id, "",
             fmt::format("prompt {} has other ids in the reference: {}", run->info.prompt,
                         prompt_difference(clash->info.prompt_ids, run->info.prompt_ids)));
    } else {
      report_.not_covered.push_back(
          fmt::format("run {} of the port: the reference has no {} run of its {} ids", run->info.id,
                      phase_name(run->info.phase), run->info.prompt_ids.size()));
    }
  }
}

}  // namespace

DiffReport diff(const Recording& reference, const std::vector<const Recording*>& floors,
                const Recording& port, const DiffOptions& options, ThreadPool& pool) {
  std::error_code ec;
  if (std::filesystem::equivalent(reference.path, port.path, ec)) {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("both sides are {}: a recording always agrees with itself", port.path.string()),
        "give the reference's recording first, then the port's");
  }
  return Differ(reference, floors, port, options, pool).run();
}

}  // namespace lockstep::parity
