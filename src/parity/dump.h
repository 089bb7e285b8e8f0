// Records what a port computes, tap by tap, without touching the port.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "parity/recording.h"
#include "runtime/pipeline.h"

namespace lockstep::parity {

/// One run of the dump: tokens fed to a sequence in forward calls of these sizes. Rows of all
/// calls stand one after the other, so prefill, chunks and decode give equal dumps.
struct PlannedRun {
  RunInfo info;
  std::vector<int32_t> tokens;
  std::vector<int64_t> calls;  // sums to tokens.size()
};

/// A prompt and what follows it, on one cache, in one dtype.
struct PlannedSequence {
  DType dtype = DType::kFloat32;
  std::vector<PlannedRun> runs;
};

struct DumpOptions {
  std::string taps = "*";  // pattern over paths; empty for logits alone
  TapInputs inputs = TapInputs::kNo;
  std::vector<GreedyInfo> greedy = {};  // goes into the dump as it is
};

/// Over all elements of one tap of one run.
struct TapStats {
  std::string path;
  std::string shape;
  double mean = 0, max_abs = 0, norm = 0;
  uint64_t non_finite = 0;
};

/// One run of `prompt_ids`: the first `prefill` tokens at once (0: all) in chunks of `chunk` (0:
/// the largest), the rest one by one. Throws kInvalidArgument naming --prefill or --chunk.
PlannedSequence plan_prompt(DType dtype, const std::vector<int32_t>& prompt_ids, int64_t prefill,
                            int64_t chunk, int64_t max_tokens);

/// The runs of `reference`, prompt by prompt and dtype by dtype, decode steps included. Attention
/// implementations and devices of the reference that differ in nothing else give one run. Throws
/// kInvalidArgument naming the recording when it has none that a port can follow.
std::vector<PlannedSequence> plan_like(const Recording& reference, int64_t max_tokens);

/// Tokens the caches must hold for `sequences`, which run one after the other.
int64_t longest(const std::vector<PlannedSequence>& sequences);

/// Runs `sequences`, each in the pipeline of its dtype, and writes them to `folder` (none: nothing
/// is written). Returns statistics of every tap of the first run, in order of execution.
std::vector<TapStats> dump(const std::vector<Pipeline*>& pipelines,
                           const std::vector<PlannedSequence>& sequences,
                           const DumpOptions& options,
                           const std::optional<std::filesystem::path>& folder);

}  // namespace lockstep::parity
