// The pipelines that follow a recording: one a dtype, made for its longest prompt.
#pragma once

#include <memory>
#include <vector>

#include "cli/model_options.h"
#include "parity/dump.h"

namespace lockstep::cli {

class Pipelines {
 public:
  /// Plans `reference`'s runs in the dtypes it has (in --dtype alone, where given) and opens the
  /// model for each. Throws as Model::open and plan_like.
  Pipelines(const ModelOptions& options, const parity::Recording& reference);

  std::vector<Pipeline*> all() const;
  const std::vector<parity::PlannedSequence>& sequences() const { return sequences_; }

 private:
  std::vector<parity::PlannedSequence> sequences_;
  std::vector<std::unique_ptr<Pipeline>> pipelines_;
};

}  // namespace lockstep::cli
