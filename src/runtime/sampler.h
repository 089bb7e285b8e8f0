// The rows of one step's logits, each for its request: tokens chosen and log probabilities taken,
// in parallel over rows.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "runtime/token_choice.h"
#include "tensor/view.h"

namespace lockstep {

/// What is wanted of one row.
struct SampleJob {
  int64_t row = 0;                    // of the logits
  TokenChoice* choice = nullptr;      // chooses the next token; nullptr: `token` is given
  std::optional<int64_t> n_logprobs;  // the likeliest to report with the token; -1: all
  // Set by Sampler::run.
  std::optional<int32_t> token = {};  // none where none could be chosen
  std::optional<PositionLogprobs> logprobs = {};
  bool out_of_memory = false;
  /// Without a token: the logits are sound, and the request's own parameters forbid every one.
  bool forbids_all = false;
};

class Sampler {
 public:
  /// `pool` must outlive this.
  Sampler(int64_t vocab_size, ThreadPool& pool);

  /// `logits` is [rows, vocab], float32 or bfloat16. Jobs of one TokenChoice do not run at once, so
  /// each may stand in one job alone.
  void run(const View& logits, std::span<SampleJob> jobs);

 private:
  struct Worker {
    explicit Worker(int64_t vocab_size)
        : choice(vocab_size), row(static_cast<size_t>(vocab_size)) {}
    ChoiceScratch choice;
    std::vector<float> row;  // of bfloat16 logits, widened
    std::vector<int32_t> ids;
  };
  void run_one(const View& logits, SampleJob& job, Worker& worker) const noexcept;

  ThreadPool& pool_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace lockstep
