#include "client/load_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "base/text.h"

namespace lockstep::client {
namespace {

constexpr double kMilliseconds = 1e3;

double median_of(std::vector<double> values) {
  return Distribution(std::move(values)).quantile(0.5);
}

bool keeps(const RequestTimes& times, const ServiceLevel& service) {
  const double tokens = static_cast<double>(times.output_tokens);
  const double tpot = tokens > 1 ? (times.e2e - times.ttft) / (tokens - 1) : 0;
  return times.ttft * kMilliseconds <= service.ttft.value_or(INFINITY) &&
         tpot * kMilliseconds <= service.tpot.value_or(INFINITY) &&
         times.e2e * kMilliseconds <= service.e2el.value_or(INFINITY);
}

}  // namespace

Distribution::Distribution(std::vector<double> milliseconds) : sorted_(std::move(milliseconds)) {
  std::ranges::sort(sorted_);
}

double Distribution::mean() const noexcept {
  if (sorted_.empty()) return 0;
  return std::accumulate(sorted_.begin(), sorted_.end(), 0.0) / static_cast<double>(sorted_.size());
}

double Distribution::quantile(double q) const noexcept {
  if (sorted_.empty()) return 0;
  const double at = std::clamp(q, 0.0, 1.0) * static_cast<double>(sorted_.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted_.size() - 1);
  const double share = at - static_cast<double>(below);
  return sorted_[below] + share * (sorted_[above] - sorted_[below]);
}

ServiceLevel ServiceLevel::parse(const std::vector<std::string>& texts) {
  ServiceLevel service;
  for (const std::string& text : texts) {
    const size_t colon = std::min(text.find(':'), text.size());
    const std::string name = text.substr(0, colon);
    std::optional<double>* bound = name == "ttft"   ? &service.ttft
                                   : name == "tpot" ? &service.tpot
                                   : name == "e2el" ? &service.e2el
                                                    : nullptr;
    double value = 0;
    const char* begin = text.data() + std::min(colon + 1, text.size());
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(begin, end, value);
    if (bound == nullptr || error != std::errc{} || stop != end || !(value > 0)) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("--goodput: expected ttft:MS, tpot:MS or e2el:MS, found {}",
                              quote_text(text)));
    }
    *bound = value;
  }
  return service;
}

std::string ServiceLevel::text() const {
  std::string out;
  const auto add = [&](const char* name, const std::optional<double>& bound) {
    if (bound.has_value())
      out += fmt::format("{}{} <= {:g} ms", out.empty() ? "" : ", ", name, *bound);
  };
  add("ttft", ttft);
  add("tpot", tpot);
  add("e2el", e2el);
  return out;
}

double LevelSummary::output_tokens_per_s() const {
  return seconds > 0 ? static_cast<double>(output_tokens) / seconds : 0;
}

LevelSummary summarise(const std::vector<LevelTimes>& rounds, const std::vector<int64_t>& asked,
                       const ServiceLevel& service) {
  LevelSummary summary;
  std::vector<double> ttft, itl, tpot, e2e;
  size_t index = 0;
  for (const LevelTimes& round : rounds) {
    summary.seconds += round.seconds;
    for (const RequestTimes& times : round.requests) {
      const int64_t wanted = index < asked.size() ? asked[index] : 0;
      ++index;
      summary.most_lag = std::max(summary.most_lag, times.lag * kMilliseconds);
      if (!times.failure.empty()) {
        ++summary.n_failed;
        ++summary.failures[times.failure];
        continue;
      }
      ++summary.n_ok;
      summary.n_short += times.output_tokens < wanted ? 1 : 0;
      summary.prompt_tokens += times.prompt_tokens;
      summary.output_tokens += times.output_tokens;
      ++summary.counted_by[times.counted_by];
      summary.n_good += service.is_given() && keeps(times, service) ? 1 : 0;
      ttft.push_back(times.ttft * kMilliseconds);
      e2e.push_back(times.e2e * kMilliseconds);
      if (times.output_tokens > 1) {
        tpot.push_back((times.e2e - times.ttft) * kMilliseconds /
                       static_cast<double>(times.output_tokens - 1));
      }
      for (const double gap : times.gaps) itl.push_back(gap * kMilliseconds);
    }
  }
  summary.ttft = Distribution(std::move(ttft));
  summary.itl = Distribution(std::move(itl));
  summary.tpot = Distribution(std::move(tpot));
  summary.e2e = Distribution(std::move(e2e));
  return summary;
}

std::vector<Ratio> ratios(const std::vector<LevelSummary>& a, const std::vector<LevelSummary>& b) {
  struct Figure {
    const char* name;
    bool more_is_better;
    double (*of)(const LevelSummary&);
  };
  const Figure figures[] = {
      {"output tokens/s", true, [](const LevelSummary& s) { return s.output_tokens_per_s(); }},
      {"requests/s", true, [](const LevelSummary& s) { return s.requests_per_s(); }},
      {"TTFT p50", false, [](const LevelSummary& s) { return s.ttft.quantile(0.5); }},
      {"TPOT p50", false, [](const LevelSummary& s) { return s.tpot.quantile(0.5); }},
      {"E2E p50", false, [](const LevelSummary& s) { return s.e2e.quantile(0.5); }},
  };
  std::vector<Ratio> all;
  for (const Figure& figure : figures) {
    std::vector<double> values;
    for (size_t round = 0; round < std::min(a.size(), b.size()); ++round) {
      const double ours = figure.of(a[round]), theirs = figure.of(b[round]);
      if (ours > 0 && theirs > 0) values.push_back(ours / theirs);
    }
    if (values.empty()) continue;
    const auto [least, most] = std::ranges::minmax(values);
    all.push_back(
        {figure.name, figure.more_is_better, median_of(values), least, most, values.size()});
  }
  return all;
}

}  // namespace lockstep::client
