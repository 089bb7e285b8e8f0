// Figures of load: distributions, goodput, and the ratio of two servers that were measured in turn.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/load.h"

namespace lockstep::client {

/// Sorted milliseconds.
class Distribution {
 public:
  Distribution() = default;
  explicit Distribution(std::vector<double> milliseconds);

  size_t size() const noexcept { return sorted_.size(); }
  double mean() const noexcept;
  /// `q` in [0, 1], between neighbours in proportion, as numpy.percentile; 0 of nothing.
  double quantile(double q) const noexcept;

 private:
  std::vector<double> sorted_;
};

/// What a request must keep to count as good: milliseconds, nothing where it does not matter.
struct ServiceLevel {
  std::optional<double> ttft, tpot, e2el;
  bool is_given() const { return ttft.has_value() || tpot.has_value() || e2el.has_value(); }
  /// "ttft:200" or "tpot:50" or "e2el:5000", vLLM's names, as --goodput takes them. Throws
  /// kInvalidArgument.
  static ServiceLevel parse(const std::vector<std::string>& texts);
  std::string text() const;
};

/// One server at one level, of one round or of several put together.
struct LevelSummary {
  int64_t n_ok = 0, n_failed = 0, n_short = 0;  // short: fewer tokens than asked for
  std::map<std::string, int64_t> failures;      // by reason
  double seconds = 0;
  int64_t prompt_tokens = 0, output_tokens = 0;
  std::map<std::string, int64_t> counted_by;  // requests
  Distribution ttft, itl, tpot, e2e;
  int64_t n_good = 0;
  double most_lag = 0;  // milliseconds between due and sent

  double requests_per_s() const { return seconds > 0 ? static_cast<double>(n_ok) / seconds : 0; }
  double output_tokens_per_s() const;
  double good_per_s() const { return seconds > 0 ? static_cast<double>(n_good) / seconds : 0; }
};

/// Of rounds with the same requests' sizes: `asked` are the tokens each request asked for, round
/// after round.
LevelSummary summarise(const std::vector<LevelTimes>& rounds, const std::vector<int64_t>& asked,
                       const ServiceLevel& service);

/// Of a figure of two servers, round by round: A's over B's.
struct Ratio {
  std::string name;  // "output tokens/s"
  bool more_is_better = false;
  double median = 0, least = 0, most = 0;
  size_t n_rounds = 0;
};

/// Throughput and the middle latencies. Rounds in which either side has no figure are left out.
std::vector<Ratio> ratios(const std::vector<LevelSummary>& a, const std::vector<LevelSummary>& b);

}  // namespace lockstep::client
