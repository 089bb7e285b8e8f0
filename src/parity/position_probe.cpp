#include "parity/position_probe.h"

#include <algorithm>

#include "parity/diff.h"
#include "parity/floor.h"
#include "parity/logits.h"
#include "parity/metrics.h"

namespace lockstep::parity {
namespace {

// The run of the longest prompt whose logits are there from the first row on.
const Run* longest_prefill(const Recording& reference) {
  const Run* longest = nullptr;
  for (const Run& run : reference.runs) {
    if (run.info.phase != Phase::kPrefill || !run.logits || run.first_logit_row != 0) continue;
    if (longest == nullptr || run.info.prompt_ids.size() > longest->info.prompt_ids.size()) {
      longest = &run;
    }
  }
  return longest;
}

View row_of(const View& logits, int64_t row) {
  View view = logits;
  view.data = static_cast<std::byte*>(logits.data) +
              row * logits.stride[0] * static_cast<int64_t>(dtype_size(logits.dtype));
  view.shape[0] = 1;
  return view;
}

PositionProbe probe(Pipeline& pipeline, const Run& truth, int64_t length, double bar,
                    ThreadPool& pool) {
  const auto& ids = truth.info.prompt_ids;
  const std::vector<int32_t> prefix(ids.begin(), ids.begin() + length);
  Sequence sequence;
  const View port = pipeline.prefill(sequence, prefix);
  const View reference = row_of(truth.logits->view, length - 1);
  const TapMetrics metrics = compare(reference, port, {}, pool);
  const PositionProbe probe{length, metrics.sums.relative_l2(), bar, winner(reference, 0).id,
                            winner(port, 0).id};
  pipeline.release(sequence);
  return probe;
}

}  // namespace

const PositionProbe* PositionProbes::first() const {
  const auto at = std::ranges::find_if(probes, &PositionProbe::differs);
  return at == probes.end() ? nullptr : &*at;
}

std::vector<PositionProbes> probe_positions(const std::vector<Pipeline*>& pipelines,
                                            const Recording& reference, ThreadPool& pool) {
  std::vector<PositionProbes> all;
  const Run* const longest = longest_prefill(reference);
  if (longest == nullptr) return all;
  std::vector<ReferenceRun> runs;
  for (const Run& run : reference.runs) runs.push_back({&run, true});
  Floors floors(runs, pool);
  for (Pipeline* pipeline : pipelines) {
    const std::string dtype(dtype_name(pipeline->graph().activation_dtype));
    const Run* truth = floors.truth_for(longest->info, dtype);
    const auto floor = floors.floor(dtype, Phase::kPrefill, "logits", true);
    if (truth == nullptr || !truth->logits || truth->first_logit_row != 0 || !floor) continue;
    const int64_t vocab = truth->logits->view.shape[1];
    const double bar = floor->token * kTokenBand * bands_for(vocab, false).diverged;
    PositionProbes probes{dtype,
                          truth->info.id,
                          std::min<int64_t>(static_cast<int64_t>(truth->info.prompt_ids.size()),
                                            truth->logits->view.shape[0]),
                          {}};
    for (const int64_t length : kProbeLengths) {
      if (length > probes.available) break;
      probes.probes.push_back(probe(*pipeline, *truth, length, bar, pool));
    }
    all.push_back(std::move(probes));
  }
  return all;
}

std::string_view suspect_of(int64_t length) {
  if (length <= 1) return "tokenizer, embedding, or what a token computes alone";
  if (length <= 5) return "head layout, mask, or rotation";
  if (length <= 50) return "rotary frequencies, or positions";
  return "a window, or a scaling by length";
}

}  // namespace lockstep::parity
