// Records what a port computes, tap by tap, without touching the port.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "runtime/pipeline.h"

namespace lockstep::parity {

struct DumpRequest {
  std::vector<int32_t> prompt_ids;
  std::string taps = "*";  // pattern over paths; empty for logits alone
  TapInputs inputs = TapInputs::kNo;
  int64_t prefill = 0;  // tokens fed at once; the rest one by one (0: all at once)
  int64_t chunk = 0;    // the first `prefill` tokens in chunks of this size (0: the largest)
};

/// Over all elements of one tap.
struct TapStats {
  std::string path;
  std::string shape;
  double mean = 0, max_abs = 0, norm = 0;
  uint64_t non_finite = 0;
};

/// The sizes of the forward calls that `request` asks for. Throws kInvalidArgument for an empty
/// prompt or a --prefill or --chunk out of range.
std::vector<int64_t> dump_steps(const DumpRequest& request, int64_t max_tokens);

/// Runs the prompt through `pipeline` and writes one run to `folder` (none: nothing is written).
/// Rows of all steps stand one after the other, so prefill, chunks and decode give equal dumps.
/// Returns statistics of every tap, in order of execution, the logits last.
std::vector<TapStats> dump(Pipeline& pipeline, const DumpRequest& request,
                           const std::optional<std::filesystem::path>& folder);

}  // namespace lockstep::parity
