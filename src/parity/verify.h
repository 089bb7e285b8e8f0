// Verification of a port against a recording: the same runs recorded from the port, compared, and
// the greedy text with ties weighed.
#pragma once

#include <string>
#include <vector>

#include "parity/diff.h"
#include "parity/dump.h"
#include "parity/recording.h"
#include "runtime/pipeline.h"

namespace lockstep::parity {

/// A greedy continuation of the port against the reference's.
struct GreedyCheck {
  enum class Outcome : uint8_t { kSame, kTie, kDiffers };
  std::string dtype;
  int prompt = 0;
  int tokens = 0;  // compared, up to and with the first difference
  int total = 0;   // recorded
  Outcome outcome = Outcome::kSame;
  int64_t expected = 0, found = 0;  // at the first difference
  double margin = 0;                // of the reference there
  double noise = 0;  // what the logits of both sides are apart, twice: a smaller margin is a tie
};

/// Feeds each prompt of `reference` that has greedy text to the pipeline of its dtype and follows
/// the port's own choices to the first difference. `report` gives the noise: twice the largest
/// difference of logits that the comparison found in that dtype.
std::vector<GreedyCheck> check_greedy(const std::vector<Pipeline*>& pipelines,
                                      const Recording& reference, const DiffReport& report);

/// The port's own greedy text after each prompt that `reference` has greedy text of, as many tokens,
/// with margins; prompts are numbered as `sequences` are in a dump.
std::vector<GreedyInfo> own_greedy(const std::vector<Pipeline*>& pipelines,
                                   const Recording& reference,
                                   const std::vector<PlannedSequence>& sequences);

std::string greedy_text(const std::vector<GreedyCheck>& checks);

}  // namespace lockstep::parity
