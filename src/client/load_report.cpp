#include "client/load_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace lockstep::client {
namespace {

using OrderedJson = nlohmann::ordered_json;

// Four significant figures at most, in `width` columns.
std::string figure(double value, int width) {
  const int decimals = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return fmt::format("{:>{}.{}f}", value, width, decimals);
}

std::string row(const std::string& load, const std::string& label, const LevelSummary& s) {
  std::string line = fmt::format("{:<11}{:<2}{:>6}{:>5}{}{}", load, label, s.n_ok, s.n_failed,
                                 figure(s.requests_per_s(), 8), figure(s.output_tokens_per_s(), 8));
  const auto add = [&](const Distribution& d, std::initializer_list<double> quantiles) {
    for (const double q : quantiles) line += d.size() == 0 ? "      -" : figure(d.quantile(q), 7);
  };
  add(s.ttft, {0.5, 0.9, 0.99});
  add(s.itl, {0.5, 0.9, 0.99});
  add(s.e2e, {0.5, 0.99});
  return line + "\n";
}

// What a reader must know before the figures are believed.
std::string remarks(const LoadReport& report, const LoadReport::Level& level, size_t server) {
  const LevelSummary& s = level.results[server].all;
  const std::string where =
      fmt::format("{}, {}: ", report.servers[server].label, level.load.label());
  std::string text;
  for (const auto& [reason, n] : s.failures) {
    text += fmt::format("  {}{} failed: {}\n", where, n, reason);
  }
  if (s.n_short > 0) {
    text += fmt::format("  {}{} of fewer tokens than asked for\n", where,
                        counted(static_cast<uint64_t>(s.n_short), "answer"));
  }
  const auto parts = s.counted_by.find("parts");
  if (parts != s.counted_by.end()) {
    text +=
        fmt::format("  {}{} not counted by the server: a part of the stream is taken for a token\n",
                    where, counted(static_cast<uint64_t>(parts->second), "answer"));
  }
  if (s.most_lag > 5) {
    text += fmt::format("  {}requests were sent up to {:.0f} ms late: this machine is the limit\n",
                        where, s.most_lag);
  }
  return text;
}

OrderedJson distribution_json(const Distribution& d) {
  if (d.size() == 0) return nullptr;
  OrderedJson percentiles = OrderedJson::array();
  for (int p = 0; p <= 100; ++p) percentiles.push_back(d.quantile(p / 100.0));
  return {{"n", d.size()},
          {"mean", d.mean()},
          {"p50", d.quantile(0.5)},
          {"p90", d.quantile(0.9)},
          {"p99", d.quantile(0.99)},
          {"max", d.quantile(1)},
          {"percentiles", percentiles}};
}

OrderedJson summary_json(const LevelSummary& s, const ServiceLevel& service) {
  OrderedJson out = {{"ok", s.n_ok},
                     {"failed", s.n_failed},
                     {"failures", s.failures},
                     {"short_answers", s.n_short},
                     {"seconds", s.seconds},
                     {"requests_per_s", s.requests_per_s()},
                     {"prompt_tokens", s.prompt_tokens},
                     {"output_tokens", s.output_tokens},
                     {"output_tokens_per_s", s.output_tokens_per_s()},
                     {"counted_by", s.counted_by},
                     {"most_lag_ms", s.most_lag},
                     {"ttft_ms", distribution_json(s.ttft)},
                     {"itl_ms", distribution_json(s.itl)},
                     {"tpot_ms", distribution_json(s.tpot)},
                     {"e2el_ms", distribution_json(s.e2e)}};
  if (service.is_given()) {
    out["good"] = s.n_good;
    out["goodput_per_s"] = s.good_per_s();
  }
  return out;
}

OrderedJson level_json(const LoadReport& report, const LoadReport::Level& level) {
  const bool is_open = level.load.kind == LoadLevel::Kind::kOpen;
  OrderedJson results = OrderedJson::array(), ratios = OrderedJson::array();
  for (size_t i = 0; i < level.results.size(); ++i) {
    OrderedJson result = {{"server", report.servers[i].label}};
    result.update(summary_json(level.results[i].all, report.service));
    OrderedJson rounds = OrderedJson::array();
    for (const LevelSummary& round : level.results[i].rounds) {
      OrderedJson one = {{"seconds", round.seconds},
                         {"failed", round.n_failed},
                         {"output_tokens_per_s", round.output_tokens_per_s()},
                         {"ttft_p50_ms", round.ttft.quantile(0.5)},
                         {"tpot_p50_ms", round.tpot.quantile(0.5)},
                         {"e2el_p50_ms", round.e2e.quantile(0.5)}};
      rounds.push_back(std::move(one));
    }
    result["rounds"] = std::move(rounds);
    results.push_back(std::move(result));
  }
  for (const Ratio& ratio : level.ratios) {
    ratios.push_back({{"figure", ratio.name},
                      {"median", ratio.median},
                      {"min", ratio.least},
                      {"max", ratio.most},
                      {"rounds", ratio.n_rounds},
                      {"more_is_better", ratio.more_is_better}});
  }
  OrderedJson load;
  load[is_open ? "rate" : "concurrency"] = level.load.value;
  return {{"load", load}, {"results", results}, {"ratios", ratios}};
}

}  // namespace

int64_t LoadReport::n_ok() const {
  int64_t n = 0;
  for (const Level& level : levels) {
    for (const LevelResult& result : level.results) n += result.all.n_ok;
  }
  return n;
}

int64_t LoadReport::n_failed() const {
  int64_t n = 0;
  for (const Level& level : levels) {
    for (const LevelResult& result : level.results) n += result.all.n_failed;
  }
  return n;
}

std::string load_text(const LoadReport& report) {
  std::string text;
  for (const LoadReport::Server& server : report.servers) {
    text += fmt::format("{}  {}, model {}{}{}\n", server.label, server.url, server.model,
                        server.ignores_eos ? "" : "; answers may end early: ignore_eos is refused",
                        server.reports_usage ? "" : "; stream_options is refused");
  }
  text += fmt::format("{:<13}{:>11}{:>16}{:>21}{:>21}{:>14}\n", "", "", "", "TTFT, ms",
                      "between tokens, ms", "whole, ms");
  text += fmt::format("{:<13}{:>6}{:>5}{:>8}{:>8}", "load", "ok", "fail", "req/s", "tok/s");
  for (const char* name : {"p50", "p90", "p99", "p50", "p90", "p99", "p50", "p99"}) {
    text += fmt::format("{:>7}", name);
  }
  text += "\n";
  std::string notes;
  for (const LoadReport::Level& level : report.levels) {
    for (size_t i = 0; i < level.results.size(); ++i) {
      text += row(i == 0 ? level.load.label() : "", report.servers[i].label, level.results[i].all);
      notes += remarks(report, level, i);
    }
  }
  if (report.service.is_given()) {
    text += fmt::format("goodput: requests/s with {}\n", report.service.text());
    for (const LoadReport::Level& level : report.levels) {
      for (size_t i = 0; i < level.results.size(); ++i) {
        const LevelSummary& s = level.results[i].all;
        text +=
            fmt::format("  {:<11}{:<2}{} ({} of {})\n", level.load.label(), report.servers[i].label,
                        figure(s.good_per_s(), 8), s.n_good, s.n_ok + s.n_failed);
      }
    }
  }
  for (const LoadReport::Level& level : report.levels) {
    for (const Ratio& ratio : level.ratios) {
      text += fmt::format("A/B  {:<11} {:<16} {:.3f}  ({:.3f} to {:.3f} over {}; {} is better)\n",
                          level.load.label(), ratio.name, ratio.median, ratio.least, ratio.most,
                          counted(ratio.n_rounds, "round"), ratio.more_is_better ? "more" : "less");
    }
  }
  if (!notes.empty()) text += "to know:\n" + notes;
  return text;
}

std::string load_json(const LoadReport& report) {
  OrderedJson servers = OrderedJson::array(), levels = OrderedJson::array();
  for (const LoadReport::Server& server : report.servers) {
    servers.push_back({{"label", server.label},
                       {"url", server.url},
                       {"model", server.model},
                       {"ignore_eos", server.ignores_eos},
                       {"stream_options", server.reports_usage}});
  }
  for (const LoadReport::Level& level : report.levels) levels.push_back(level_json(report, level));
  const OrderedJson document = {{"servers", servers},
                                {"workload", OrderedJson(report.workload)},
                                {"goodput", report.service.text()},
                                {"levels", levels}};
  return document.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace lockstep::client
