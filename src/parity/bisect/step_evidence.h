// Why a token's logits differ from those of the same text fed at once: the first thing that
// differs among what was fed, what was kept from the steps before, and what was computed.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "parity/bisect/step_watch.h"

namespace lockstep::parity {

struct StepEvidence {
  enum class Kind : uint8_t {
    kUnknown,   // nothing that was watched differs
    kTokens,    // other ids were fed
    kPosition,  // the position of the token, or what is made of it
    kCache,     // rows of a cache that earlier steps wrote
    kState,     // a convolution's or recurrence's state after the steps before
    kCompute,   // what went in is the same, what came out is not
  };
  Kind kind = Kind::kUnknown;
  std::string tensor;              // the first that differs; empty where none is known
  std::vector<std::string> lines;  // what was measured
  std::string look_at;
};
std::string_view kind_name(StepEvidence::Kind kind) noexcept;

/// The text fed at once: the image of its first `end` tokens, with the taps that match `pattern` at
/// `rows` (empty: all).
using AtOnce = std::function<StepImage(int64_t end, const std::vector<int64_t>& rows,
                                       const std::string& pattern)>;

/// Relative difference of a row above which it is another one.
double row_bar(DType dtype) noexcept;

/// What is wrong at `position` of the text: `step` computed it, `before` came before it (nullptr:
/// none, or it is not known). `text` is what should have been fed.
StepEvidence explain_step(std::span<const int32_t> text, const StepImage& step,
                          const StepImage* before, int64_t position, DType dtype,
                          const AtOnce& at_once);

}  // namespace lockstep::parity
