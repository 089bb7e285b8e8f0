#include "runtime/sampler.h"

#include <cmath>

#include "runtime/logprobs.h"

namespace lockstep {

Sampler::Sampler(int64_t vocab_size, ThreadPool& pool) : pool_(pool) {
  for (int i = 0; i < pool.size(); ++i) workers_.push_back(std::make_unique<Worker>(vocab_size));
}

void Sampler::run(const View& logits, std::span<SampleJob> jobs) {
  pool_.parallel_for(static_cast<int64_t>(jobs.size()), 1,
                     [&](int64_t begin, int64_t end, int worker) {
                       for (int64_t i = begin; i < end; ++i) {
                         run_one(logits, jobs[i], *workers_[worker]);
                       }
                     });
}

void Sampler::run_one(const View& logits, SampleJob& job, Worker& worker) const noexcept {
  const int64_t n = logits.dim(-1);
  std::span<const float> row;
  if (logits.dtype == DType::kBFloat16) {
    const uint16_t* stored = logits.as<uint16_t>() + job.row * n;
    for (int64_t i = 0; i < n; ++i) worker.row[i] = bfloat16_to_float(stored[i]);
    row = worker.row;
  } else {
    row = {logits.as<float>() + job.row * n, static_cast<size_t>(n)};
  }
  if (job.choice != nullptr) job.token = job.choice->choose(row, worker.choice);
  if (!job.token) {
    const int32_t best = argmax(row);
    job.forbids_all = best >= 0 && std::isfinite(row[static_cast<size_t>(best)]);
  }
  if (!job.token || !job.n_logprobs) return;
  try {
    job.logprobs = position_logprobs(row, *job.token, *job.n_logprobs, worker.ids);
  } catch (const std::bad_alloc&) {
    job.out_of_memory = true;
  }
}

}  // namespace lockstep
