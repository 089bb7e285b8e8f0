#include <cmath>
#include <nlohmann/json.hpp>

#include "parity/report.h"

namespace lockstep::parity {
namespace {

using Json = nlohmann::ordered_json;

/// JSON has no infinity or NaN.
Json finite(double x) { return std::isfinite(x) ? Json(x) : Json(nullptr); }

Json profile_json(const Profile& p) {
  return {{"total", finite(p.total)},
          {"without_largest_channels", finite(p.trimmed)},
          {"worst_token", finite(p.token)},
          {"worst_channel", finite(p.channel)}};
}

Json tap_json(const TapDiff& tap) {
  const TapMetrics& m = tap.metrics;
  Json out = {{"tap", tap.key},
              {"class", tap.port->info.module_class},
              {"judgement", tap.judgement == Judgement::kDiverged
                                ? "diverged"
                                : std::string(judgement_name(tap.judgement))},
              {"elements", m.elements()},
              {"cos", finite(m.sums.cosine())},
              {"relative_l2", finite(m.sums.relative_l2())},
              {"mean_abs", finite(m.mean_abs())},
              {"max_abs", finite(m.max_abs)},
              {"max_at",
               {{"token", m.max_place.token},
                {"channel", m.max_place.channel},
                {"reference", finite(m.max_place.reference)},
                {"port", finite(m.max_place.port)}}},
              {"scale", finite(m.sums.alpha())},
              {"residual", finite(m.sums.residual())},
              {"g", profile_json(tap.g)},
              {"f", tap.floor ? profile_json(*tap.floor) : Json(nullptr)},
              {"ratio", tap.floor ? finite(tap.ratio) : Json(nullptr)},
              {"bands", {tap.bands.watch, tap.bands.diverged}},
              {"token0_clean", tap.token0_clean},
              {"worst_token", tap.g.worst_token},
              {"worst_channel", tap.g.worst_channel},
              {"note", tap.note}};
  Json largest = Json::array();
  for (const ChannelMetrics& c : m.largest) {
    largest.push_back({{"channel", c.channel}, {"relative_l2", finite(c.relative_l2())}});
  }
  out["largest_channels"] = std::move(largest);
  return out;
}

Json ranks_json(const RunDiff& run) {
  const LogitsMetrics& r = *run.ranks;
  Json flips = Json::array();
  for (const Flip& f : r.flips) {
    flips.push_back({{"position", run.first_logit_row + f.row},
                     {"reference", f.reference_id},
                     {"port", f.port_id},
                     {"margin", finite(f.margin)},
                     {"tie", f.tie}});
  }
  return {{"positions", r.rows},
          {"same_top1", r.same_top1},
          {"top_k", kTopK},
          {"top_k_overlap", finite(r.top_k_overlap)},
          {"kl_mean", finite(r.kl_mean)},
          {"kl_max", finite(r.kl_max)},
          {"flips", std::move(flips)}};
}

Json run_json(const DiffReport& report, const RunDiff& run) {
  Json taps = Json::array();
  for (const TapDiff& tap : run.taps) taps.push_back(tap_json(tap));
  Json first = nullptr;
  if (report.valid && run.first_diverged >= 0) {
    first = run.first_diverged < std::ssize(run.taps) ? run.taps[run.first_diverged].key : "logits";
  }
  return {{"run", run.port->info.id},
          {"reference_run", run.reference->info.id},
          {"dtype", run.dtype},
          {"phase", phase_name(run.port->info.phase)},
          {"step", run.port->info.step},
          {"tokens", run.port->info.prompt_ids.size()},
          {"floor", run.floor_source},
          {"first_diverged", first},
          {"taps", std::move(taps)},
          {"logits", run.logits ? tap_json(*run.logits) : Json(nullptr)},
          {"ranks", run.ranks ? ranks_json(run) : Json(nullptr)}};
}

}  // namespace

std::string report_json(const Recording& reference, const Recording& port,
                        const DiffReport& report) {
  const Coverage& c = report.covered;
  const Bands bands = bands_for(1 << 20, report.strict);
  Json out = {{"verdict", outcome_name(report.outcome)},
              {"valid", report.valid},
              {"reference", reference.path.string()},
              {"port", port.path.string()},
              {"covered",
               {{"runs", c.runs},
                {"taps", c.taps},
                {"elements", c.elements},
                {"embedding", c.embedding},
                {"layers", c.layers},
                {"layers_expected", c.layers_expected},
                {"final_norm", c.final_norm},
                {"logits", c.logits},
                {"tokens", c.tokens}}},
              {"not_covered", report.not_covered},
              {"findings", Json::array()},
              {"thresholds",
               {{"watch", bands.watch},
                {"diverged", bands.diverged},
                {"float32_taps", kFloat32TapBar},
                {"float32_logits", kFloat32LogitsBar},
                {"strict", report.strict}}},
              {"runs", Json::array()}};
  for (const DiffFinding& f : report.findings) {
    out["findings"].push_back({{"level", level_name(f.level)},
                               {"code", f.code},
                               {"run", f.run},
                               {"tap", f.tap},
                               {"message", f.message},
                               {"way_out", f.way_out}});
  }
  if (!report.validate_only) {
    for (const RunDiff& run : report.runs) out["runs"].push_back(run_json(report, run));
  }
  return out.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace lockstep::parity
