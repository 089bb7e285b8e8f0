#include "parity/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "parity/anatomy.h"
#include "parity/format.h"

namespace lockstep::parity {
namespace {

constexpr size_t kTapWidth = 30;
constexpr int kDetailTaps = 4, kDetailRows = 12;

/// Cosines differ in what is missing to 1.
std::string cosine(const TapMetrics& m) {
  const double gap = 1 - m.sums.cosine();
  if (m.sums.dd == 0) return "1";
  if (gap > 1e-4) return fmt::format("{:.5f}", m.sums.cosine());
  // From the residual, because 1 - cos cancels: sin^2 / 2.
  const double sine2 = std::pow(m.sums.residual() / std::max(1e-300, std::abs(m.sums.alpha())), 2);
  return fmt::format("1-{:.0e}", std::max(sine2 / 2, 1e-16));
}

class Text {
 public:
  Text(const Recording& reference, const Recording& port, const DiffReport& report,
       const ReportOptions& options)
      : reference_(reference), port_(port), report_(report), options_(options) {}

  std::string render() {
    side("reference", reference_);
    side("port", port_);
    if (!report_.validate_only) {
      for (const RunDiff& run : report_.runs) table(run);
    }
    findings();
    verdict();
    return std::move(out_);
  }

 private:
  void line(const std::string& text) { out_ += text + "\n"; }
  std::string coloured(const std::string& text, int code) const {
    return options_.colour ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : text;
  }

  void side(const char* name, const Recording& r) {
    std::string who;
    const auto it = r.producer.find("name");
    if (it != r.producer.end()) who = ", " + it->second;
    const auto version = r.producer.find("version");
    if (it != r.producer.end() && version != r.producer.end()) who += " " + version->second;
    line(wrapped(
        fmt::format("{:<10} {} ({}{}{}, {} runs)", name, r.path.string(), layout_name(r.layout),
                    who, r.architecture.empty() ? "" : ", " + r.architecture, r.runs.size()),
        11));
  }

  bool shown(const TapDiff& tap) const {
    return options_.all || tap.judgement == Judgement::kWatch ||
           tap.judgement == Judgement::kDiverged ||
           (dissect(tap.port->info.path).landmark != Landmark::kNone &&
            tap.port->info.role == TapRole::kOutput);
  }

  void table(const RunDiff& run) {
    line("");
    const Bands bands = bands_for(1 << 20, report_.strict);
    line(wrapped(fmt::format("{} against {}: {} tokens, {} taps; floor f: {}", run.port->info.id,
                             run.reference->info.id, run.port->info.prompt_ids.size(),
                             run.taps.size(), run.floor_source),
                 2));
    if (!run.taps.empty() || run.logits) {
      line(fmt::format(
          "{:<30} {:>8} {:>7} {:>7} {:>7} {:>10} {:>9} {:>9} {:>5}",
          options_.token ? fmt::format("tap (rel L2 of token {})", *options_.token) : "tap", "cos",
          "rel L2", "mean", "max", "token/chan", "reference", "port", "g/f"));
    }
    size_t clean = 0, unjudged = 0;
    for (const TapDiff& tap : run.taps) {
      if (shown(tap)) {
        row(tap);
      } else {
        ++(tap.judgement == Judgement::kClean ? clean : unjudged);
      }
    }
    if (run.logits) row(*run.logits);
    if (clean > 0) line(fmt::format("  {} more taps are clean (--all shows them)", clean));
    if (unjudged > 0) {
      line(fmt::format("  {} more taps are unjudged, for want of a floor (--all)", unjudged));
    }
    if (run.ranks) ranks(run);
    line(fmt::format(
        "  silent to g/f {}, watched to {}, diverged above (wider below 1,000 elements)",
        bands.watch, bands.diverged));
    details(run);
  }

  void row(const TapDiff& tap) {
    const TapMetrics& m = tap.metrics;
    double rel = tap.g.total;
    if (options_.token) {
      const auto t = static_cast<size_t>(*options_.token);
      rel = t < m.tokens.size() ? m.tokens[t].relative_l2() : std::nan("");
    }
    const std::string name = tap.key.size() > 7 && tap.key.ends_with(":output")
                                 ? tap.key.substr(0, tap.key.size() - 7)
                                 : tap.key;
    std::string text = fmt::format(
        "{:<30} {:>8} {:>7} {:>7} {:>7} {:>10} {:>9} {:>9} {:>5}", elided(name, kTapWidth),
        cosine(m), short_number(rel), short_number(m.mean_abs()), short_number(m.max_abs),
        fmt::format("{}/{}", m.max_place.token, m.max_place.channel),
        short_number(m.max_place.reference), short_number(m.max_place.port),
        tap.floor ? fmt::format("{:.2g}", tap.ratio) : "-");
    if (tap.judgement == Judgement::kDiverged) text = coloured(text, 31);
    if (tap.judgement == Judgement::kWatch) text = coloured(text, 33);
    line(text);
    if (tap.judgement == Judgement::kClean) return;
    std::string note = fmt::format("    {}", judgement_name(tap.judgement));
    if (!tap.note.empty()) note += ": " + tap.note;
    if (tap.judgement == Judgement::kDiverged) {
      note += fmt::format("; scale {:.6g}, beside it {}; token 0 {}", m.sums.alpha(),
                          short_number(m.sums.residual()), tap.token0_clean ? "clean" : "differs");
      if (m.without_largest) {
        note +=
            fmt::format("; without {} largest channels rel L2 {}, scale {:.6g}", m.largest.size(),
                        short_number(m.without_largest->relative_l2()), m.without_largest->alpha());
      }
    }
    line(wrapped(note, 6));
  }

  void ranks(const RunDiff& run) {
    const LogitsMetrics& r = *run.ranks;
    line(wrapped(
        fmt::format(
            "  logits: {} of {} positions choose the same token, top-{} overlap {:.4g} %, KL "
            "mean {}, max {} at {}; smallest margin of the reference {} at {}",
            r.same_top1, r.rows, kTopK, 100 * r.top_k_overlap, short_number(r.kl_mean),
            short_number(r.kl_max), run.first_logit_row + r.kl_max_row, short_number(r.min_margin),
            run.first_logit_row + r.min_margin_row),
        4));
    int told = 0;
    for (const Flip& flip : r.flips) {
      if (told++ == 3) break;
      line(fmt::format("    position {}: reference {} port {}, margin {} ({})",
                       run.first_logit_row + flip.row, flip.reference_id, flip.port_id,
                       short_number(flip.margin),
                       flip.tie ? "a tie within the noise" : "not a tie"));
    }
  }

  void details(const RunDiff& run) {
    if (!options_.per_token && !options_.per_channel) return;
    int told = 0;
    for (const TapDiff& tap : run.taps) {
      const bool wanted = tap.judgement == Judgement::kDiverged ||
                          tap.judgement == Judgement::kWatch || options_.all;
      if (!wanted || told++ >= kDetailTaps) continue;
      if (options_.per_token) tokens(tap);
      if (options_.per_channel) channels(tap);
    }
    if (told == 0) line("  per token and channel: no tap differs (--all shows the first few)");
  }

  void tokens(const TapDiff& tap) {
    const auto& all = tap.metrics.tokens;
    line(fmt::format("  {} by token", elided(tap.key, 60)));
    line(fmt::format("    {:>8} {:>9} {:>10} {:>9} {:>9}", "token", "rel L2", "scale", "beside",
                     "max"));
    // The first tokens show where it starts; then the worst.
    std::vector<size_t> order;
    for (size_t t = 0; t < std::min<size_t>(all.size(), kDetailRows / 2); ++t) order.push_back(t);
    std::vector<size_t> rest;
    for (size_t t = order.size(); t < all.size(); ++t) rest.push_back(t);
    const size_t worst = std::min<size_t>(rest.size(), kDetailRows / 2);
    std::partial_sort(
        rest.begin(), rest.begin() + static_cast<ptrdiff_t>(worst), rest.end(),
        [&](size_t a, size_t b) { return all[a].relative_l2() > all[b].relative_l2(); });
    order.insert(order.end(), rest.begin(), rest.begin() + static_cast<ptrdiff_t>(worst));
    for (const size_t t : order) {
      line(fmt::format("    {:>8} {:>9} {:>10.6g} {:>9} {:>9}", t,
                       short_number(all[t].relative_l2()), all[t].alpha(),
                       short_number(all[t].residual()), short_number(all[t].max_abs)));
    }
  }

  void channels(const TapDiff& tap) {
    std::vector<ChannelMetrics> worst = tap.metrics.channels;
    const size_t n = std::min<size_t>(worst.size(), kDetailRows);
    std::partial_sort(worst.begin(), worst.begin() + static_cast<ptrdiff_t>(n), worst.end(),
                      [](const ChannelMetrics& a, const ChannelMetrics& b) { return a.dd > b.dd; });
    line(fmt::format("  {}: channels that differ most", elided(tap.key, 60)));
    line(fmt::format("    {:>8} {:>9} {:>10} {:>9}", "channel", "rel L2", "scale", "share"));
    for (size_t i = 0; i < n; ++i) {
      const ChannelMetrics& c = worst[i];
      line(fmt::format("    {:>8} {:>9} {:>10.6g} {:>7.1f} %", c.channel,
                       short_number(c.relative_l2()), c.alpha(),
                       100 * c.dd / std::max(tap.metrics.sums.dd, 1e-300)));
    }
  }

  void findings() {
    if (report_.findings.empty()) return;
    line("");
    for (const DiffFinding& f : report_.findings) {
      std::string head = fmt::format("{} {}", level_name(f.level), f.code);
      if (f.level >= Level::kDiverged) head = coloured(head, 31);
      std::string where = f.run;
      if (!f.tap.empty()) where += (where.empty() ? "" : " ") + f.tap;
      line(
          wrapped(fmt::format("{}: {}{}{}", head, where, where.empty() ? "" : ": ", f.message), 2));
      if (!f.way_out.empty()) line(wrapped("  -> " + f.way_out, 5));
    }
  }

  void verdict() {
    const Coverage& c = report_.covered;
    line("");
    std::string word = report_.outcome == Outcome::kPass       ? coloured("PASS", 32)
                       : report_.outcome == Outcome::kDiverged ? coloured("DIVERGED", 31)
                                                               : coloured("UNDECIDED", 33);
    if (report_.validate_only) word = report_.valid ? "VALID" : coloured("REFUSED", 31);
    const auto yes = [](bool b) { return b ? "yes" : "no"; };
    line(wrapped(fmt::format("{}: {} runs, {} taps, {} elements judged; embedding {}, {} of {} "
                             "layers, final norm {}, logits {}",
                             word, c.runs, c.taps, c.elements, yes(c.embedding), c.layers,
                             c.layers_expected, yes(c.final_norm), yes(c.logits)),
                 2));
    if (!report_.not_covered.empty()) {
      line("not covered:");
      for (const std::string& text : report_.not_covered) line(wrapped("  - " + text, 4));
    }
    line(next());
  }

  std::string next() const {
    const std::string ref = reference_.path.string();
    if (!report_.valid)
      return "next: mend the recording as said above, then the same command again";
    if (report_.outcome == Outcome::kDiverged) {
      return fmt::format("next: lockstep diff {} {} --all --per-token --per-channel", ref,
                         port_.path.string());
    }
    if (report_.outcome == Outcome::kPass) {
      return fmt::format("next: lockstep verify MODEL --reference {}", ref);
    }
    return report_.validate_only ? "next: the same command without --validate"
                                 : "next: record what is missing, then the same command again";
  }

  const Recording& reference_;
  const Recording& port_;
  const DiffReport& report_;
  const ReportOptions& options_;
  std::string out_;
};

}  // namespace

std::string report_text(const Recording& reference, const Recording& port, const DiffReport& report,
                        const ReportOptions& options) {
  return Text(reference, port, report, options).render();
}

}  // namespace lockstep::parity
