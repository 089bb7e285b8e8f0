#include "cli/pipelines.h"

#include <algorithm>
#include <set>

#include "lockstep/error.h"

namespace lockstep::cli {
namespace {

constexpr int64_t kChunk = 512;

int64_t longest_text(const parity::Recording& reference) {
  size_t most = 0;
  for (const parity::GreedyInfo& greedy : reference.greedy) {
    most = std::max(most, greedy.tokens.size());
  }
  return static_cast<int64_t>(most);
}

}  // namespace

Pipelines::Pipelines(const ModelOptions& options, const parity::Recording& reference)
    : sequences_(parity::plan_like(reference, kChunk)) {
  if (!options.dtype.empty()) {
    const DType only = parse_activation_dtype("--dtype", options.dtype);
    std::erase_if(sequences_, [&](const parity::PlannedSequence& s) { return s.dtype != only; });
    if (sequences_.empty()) {
      throw Error(ErrorCode::kInvalidArgument,
                  reference.path.string() + ": expected runs in " + options.dtype + ", found none",
                  "leave --dtype out, or record the reference in it");
    }
  }
  std::set<DType> dtypes;
  for (const parity::PlannedSequence& sequence : sequences_) dtypes.insert(sequence.dtype);
  PipelineOptions pipeline_options;
  pipeline_options.max_tokens = kChunk;
  pipeline_options.max_logit_rows = kChunk;
  pipeline_options.max_context = parity::longest(sequences_) + longest_text(reference);
  for (const DType dtype : dtypes) {
    ModelOptions in_dtype = options;
    in_dtype.dtype = std::string(dtype_name(dtype));
    in_dtype.quiet = options.quiet || !pipelines_.empty();
    pipelines_.push_back(in_dtype.start(in_dtype.open(), pipeline_options));
  }
}

std::vector<Pipeline*> Pipelines::all() const {
  std::vector<Pipeline*> pipelines;
  for (const auto& pipeline : pipelines_) pipelines.push_back(pipeline.get());
  return pipelines;
}

}  // namespace lockstep::cli
