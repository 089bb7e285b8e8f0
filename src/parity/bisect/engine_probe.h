// Requests to an engine of the subject's own, and what came of them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "parity/bisect/bisect.h"
#include "runtime/engine.h"

namespace lockstep::parity {

struct EngineAnswer {
  std::vector<int32_t> tokens;
  std::vector<PositionLogprobs> logprobs;  // parallel to tokens
  int64_t n_cached = 0;                    // of the prompt
  std::optional<Error> error;
};

struct EngineRequest {
  std::vector<int32_t> prompt;
  int64_t max_tokens = 0;
};

/// Greedy, end tokens ignored, twenty log probabilities a token.
class ProbeEngine {
 public:
  /// `prepare` sees the pipeline before the engine has it. Throws as Model::open and Pipeline.
  ProbeEngine(const Subject& subject, DType dtype, const EngineOptions& options,
              const std::function<void(Pipeline&)>& prepare = {});
  ~ProbeEngine();

  /// All at once; returns when the last has ended. In the order of `requests`.
  std::vector<EngineAnswer> ask(const std::vector<EngineRequest>& requests);
  EngineStats stats() const { return engine_->stats(); }

 private:
  std::unique_ptr<Engine> engine_;
};

}  // namespace lockstep::parity
