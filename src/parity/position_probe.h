// Logits after prefixes of several lengths: where a port first leaves the reference says what is
// wrong with it, before any tap is recorded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "parity/recording.h"
#include "runtime/pipeline.h"

namespace lockstep::parity {

inline constexpr int64_t kProbeLengths[] = {1, 5, 20, 50, 100, 200};

struct PositionProbe {
  int64_t length = 0;  // tokens fed, all at once
  double g = 0;        // relative L2 of the last row of logits
  double bar = 0;      // beyond it the row differs
  int64_t reference_top = 0, port_top = 0;
  bool differs() const { return !(g <= bar); }
};

struct PositionProbes {
  std::string dtype;      // of the port
  std::string run;        // the reference's run it is compared with
  int64_t available = 0;  // tokens of it
  std::vector<PositionProbe> probes;

  /// The shortest prefix that differs; nullptr: none does.
  const PositionProbe* first() const;
};

/// For each pipeline: every length that the longest recorded prefill with logits has, each in a
/// sequence of its own. The bar is that of a single token in diff.h, from the measured floor. A
/// pipeline whose type the recording has no floor for is left out.
std::vector<PositionProbes> probe_positions(const std::vector<Pipeline*>& pipelines,
                                            const Recording& reference, ThreadPool& pool);

/// What a difference that begins at this length points at.
std::string_view suspect_of(int64_t length);

}  // namespace lockstep::parity
