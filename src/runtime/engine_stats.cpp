#include "runtime/engine_stats.h"

#include <algorithm>
#include <numeric>

namespace lockstep {
namespace {

// vLLM's bounds.
const std::vector<double> kFirstToken = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1,
                                         0.25,  0.5,   0.75, 1,    2.5,  5,    7.5,  10,
                                         20,    40,    80,   160,  640,  2560};
const std::vector<double> kBetweenTokens = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
                                            0.75, 1,     2.5,  5,     7.5, 10,   20,  40,  80};
const std::vector<double> kRequest = {0.3, 0.5, 0.8, 1,  1.5, 2,   2.5, 5,   10,   15,  20,
                                      30,  40,  50,  60, 120, 240, 480, 960, 1920, 7680};
const std::vector<double> kStep = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                   0.1,   0.25,   0.5,   1,    2.5,   5};
const std::vector<double> kStepTokens = {1,   8,    16,   32,   64,   128,  256,
                                         512, 1024, 2048, 4096, 8192, 16384};
const std::vector<double> kTokens = {1,   2,    5,    10,   20,    50,    100,   200,
                                     500, 1000, 2000, 5000, 10000, 20000, 50000, 100000};

}  // namespace

void Histogram::observe(double value) noexcept {
  const auto bound = std::ranges::lower_bound(bounds_, value);
  ++counts_[static_cast<size_t>(bound - bounds_.begin())];
  sum_ += value;
  ++count_;
}

std::vector<uint64_t> Histogram::cumulative() const {
  std::vector<uint64_t> sums(counts_.size());
  std::partial_sum(counts_.begin(), counts_.end(), sums.begin());
  return sums;
}

EngineStats::EngineStats()
    : time_to_first_token(kFirstToken),
      inter_token_latency(kBetweenTokens),
      e2e_request_latency(kRequest),
      request_queue_time(kRequest),
      request_prefill_time(kRequest),
      request_decode_time(kRequest),
      step_time(kStep),
      iteration_tokens(kStepTokens),
      request_prompt_tokens(kTokens),
      request_generation_tokens(kTokens) {}

std::string_view finish_reason_name(FinishReason reason) noexcept {
  switch (reason) {
    case FinishReason::kNone:
      return "";
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kAbort:
    case FinishReason::kTimeout:
    case FinishReason::kError:
      break;
  }
  return "abort";
}

}  // namespace lockstep
