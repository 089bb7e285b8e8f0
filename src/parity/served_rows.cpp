#include "parity/served_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/text.h"
#include "lockstep/error.h"
#include "tensor/dtype.h"

namespace lockstep::parity {
namespace {

constexpr size_t kHighest = 64;      // logits of a row whose differences are its noise
constexpr double kLeastRest = 1e-3;  // of other tokens' probability, for it to say something
constexpr int64_t kRows = 64;        // rows of a prompt that are looked at

bool has_rows(const Run& run) {
  return run.info.phase == Phase::kPrefill && run.logits.has_value() &&
         run.logits->view.rank == 2 && run.logits->view.shape[0] > 0;
}

// Higher is better as the truth for a server of `dtype`.
int rank_of(const Run& run, const std::string& dtype) {
  const std::string& own = run.info.dtype;
  if (own == "float32" || own.empty()) return 3;
  if (own == "float64") return 2;
  return own == dtype ? 1 : 0;
}

// Of equally precise types: how coarse one is, relative to a number's size.
double precision_of(const std::string& dtype) {
  if (dtype == "bfloat16") return 1.0 / 256;
  if (dtype == "float16") return 1.0 / 2048;
  return 1e-6;
}

// Standard deviation of rounding `value` to the type: a server's logits may be of it, and the
// highest lose the most.
double rounding_of(const std::string& dtype, double value) {
  const int exponent = value == 0 ? 0 : std::ilogb(value);
  const int digits = dtype == "bfloat16" ? 7 : dtype == "float16" ? 10 : 23;
  return std::ldexp(1.0, exponent - digits) / std::sqrt(12.0);
}

// Root mean square of what two rows are apart in the first one's highest logits, without what all
// of them are apart, which no probability sees.
double apart(const ReferenceRow& truth, const ReferenceRow& low) {
  std::vector<size_t> order(truth.logits.size());
  std::iota(order.begin(), order.end(), 0);
  const size_t n = std::min(kHighest, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<int64_t>(n), order.end(),
                    [&](size_t a, size_t b) { return truth.logits[a] > truth.logits[b]; });
  double sum = 0, squares = 0;
  for (size_t i = 0; i < n; ++i) {
    const double d = low.logits[order[i]] - truth.logits[order[i]];
    sum += d;
    squares += d * d;
  }
  const double mean = sum / static_cast<double>(n);
  return std::sqrt(std::max(0.0, squares / static_cast<double>(n) - mean * mean));
}

}  // namespace

std::vector<RecordedPrompt> recorded_prompts(const Recording& reference, const std::string& dtype) {
  std::vector<RecordedPrompt> prompts;
  for (const Run& run : reference.runs) {
    if (!has_rows(run)) continue;
    auto at = std::ranges::find_if(
        prompts, [&](const RecordedPrompt& p) { return p.ids() == run.info.prompt_ids; });
    if (at == prompts.end()) at = prompts.insert(prompts.end(), RecordedPrompt{&run});
    if (rank_of(run, dtype) > rank_of(*at->truth, dtype)) at->truth = &run;
    if (run.info.dtype == dtype && at->low == nullptr) at->low = &run;
  }
  for (RecordedPrompt& prompt : prompts) {
    if (prompt.low == prompt.truth) prompt.low = nullptr;
    const int64_t n_rows = prompt.truth->logits->view.shape[0];
    prompt.first = prompt.truth->first_logit_row + 1;
    prompt.last =
        std::min(prompt.truth->first_logit_row + n_rows, static_cast<int64_t>(prompt.ids().size()));
  }
  return prompts;
}

ReferenceRow reference_row(const Run& run, int64_t length) {
  const View& view = run.logits->view;
  const int64_t index = length - 1 - run.first_logit_row;
  ReferenceRow row;
  row.logits.resize(static_cast<size_t>(view.shape[1]));
  for (int64_t i = 0; i < view.shape[1]; ++i) {
    const double value =
        load_element(view.data, view.dtype, index * view.stride[0] + i * view.stride[1]);
    if (!std::isfinite(value)) {
      throw Error(ErrorCode::kInvalidArgument,
                  fmt::format("{}: logits row {}: expected finite numbers, found {} for token {}",
                              run.info.id, index, value, i),
                  "record the reference again");
    }
    row.logits[static_cast<size_t>(i)] = value;
  }
  row.top = std::ranges::max_element(row.logits) - row.logits.begin();
  const double most = row.logits[static_cast<size_t>(row.top)];
  double sum = 0;
  for (const double value : row.logits) sum += std::exp(value - most);
  row.log_sum = most + std::log(sum);
  return row;
}

LogitNoise::LogitNoise(const std::vector<RecordedPrompt>& prompts, const std::string& dtype)
    : dtype_(dtype), relative_(precision_of(dtype)) {
  std::vector<double> noises;
  for (const RecordedPrompt& prompt : prompts) {
    if (prompt.low == nullptr) continue;
    const int64_t step = std::max<int64_t>(1, (prompt.last - prompt.first + 1) / kRows);
    for (int64_t length = prompt.first; length <= prompt.last; length += step) {
      if (length - 1 < prompt.low->first_logit_row) continue;
      noises.push_back(
          apart(reference_row(*prompt.truth, length), reference_row(*prompt.low, length)));
    }
  }
  if (noises.empty()) {
    source_ = fmt::format("assumed: {:.1e} of the highest logit{}", relative_,
                          dtype == "float32" ? "" : ", the recording has no run in " + dtype);
    return;
  }
  const auto middle = noises.begin() + static_cast<int64_t>(noises.size() / 2);
  std::nth_element(noises.begin(), middle, noises.end());
  usual_ = *middle;
  source_ = fmt::format("a logit is {:.1e} from itself in {} over {}, and rounded", *usual_, dtype,
                        counted(noises.size(), "row"));
}

double LogitNoise::at(const RecordedPrompt& prompt, int64_t length, const ReferenceRow& row) const {
  const double highest = row.logits[static_cast<size_t>(row.top)];
  if (!usual_.has_value()) {
    double most = 0;
    for (const double value : row.logits) most = std::max(most, std::abs(value));
    return std::hypot(relative_ * most, rounding_of(dtype_, highest));
  }
  double own = 0;
  if (prompt.low != nullptr && length - 1 >= prompt.low->first_logit_row) {
    const ReferenceRow low = reference_row(*prompt.low, length);
    own = apart(row, low);
    // Errors of a row may lie along one direction: what they did to its own token counts too.
    const double rest = 1 - std::exp(row.logprob(row.top));
    const double moved = std::abs(low.logprob(row.top) - row.logprob(row.top));
    if (rest > kLeastRest) own = std::max(own, moved / rest);
  }
  return std::hypot(std::max(*usual_, own), rounding_of(dtype_, highest));
}

}  // namespace lockstep::parity
