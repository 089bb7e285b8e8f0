// Recorded logits as a served token is judged by: log probabilities of a row, and how far the
// reference is from itself in the server's type.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "parity/recording.h"

namespace lockstep::parity {

/// One row of the reference's logits, widened.
struct ReferenceRow {
  std::vector<double> logits;
  double log_sum = 0;  // log of the sum of their exponentials
  int64_t top = 0;     // argmax; the lower id of equals

  double logprob(int64_t id) const { return logits[static_cast<size_t>(id)] - log_sum; }
};

/// A recorded prompt whose logits are there.
struct RecordedPrompt {
  const Run* truth = nullptr;   // float32 where recorded
  const Run* low = nullptr;     // the same prompt in the server's type, where that is another
  int64_t first = 0, last = 0;  // prefix lengths that have a row, both included

  const std::vector<int64_t>& ids() const { return truth->info.prompt_ids; }
};

/// Prefills with logits, one for each prompt, in the recording's order. A run in float32 is the
/// truth where there is one, else one in `dtype`, else any.
std::vector<RecordedPrompt> recorded_prompts(const Recording& reference, const std::string& dtype);

/// What follows the first `length` ids of the run's prompt. Throws kInvalidArgument naming run and
/// row for logits that are not finite.
ReferenceRow reference_row(const Run& run, int64_t length);

/// How far logits are apart that are both right.
class LogitNoise {
 public:
  /// Measured on the prompts that have a run in `dtype`, else assumed from the type's precision.
  LogitNoise(const std::vector<RecordedPrompt>& prompts, const std::string& dtype);

  /// Standard deviation of one logit of this row: as the prompt's run in the type shows it, and as
  /// rounding to the type makes of the highest.
  double at(const RecordedPrompt& prompt, int64_t length, const ReferenceRow& row) const;
  const std::string& source() const { return source_; }

 private:
  std::string dtype_;
  double relative_ = 0;  // to the row's largest logit, where nothing was measured
  std::optional<double> usual_;
  std::string source_;
};

}  // namespace lockstep::parity
