// What a difference of logits means for the text: agreement of the highest, divergence of the
// distributions, and whether a changed winner was a tie.
#pragma once

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"
#include "tensor/view.h"

namespace lockstep::parity {

inline constexpr int kTopK = 5;

/// A row where the two sides choose another token.
struct Flip {
  int64_t row = 0;
  int64_t reference_id = 0, port_id = 0;
  double margin = 0;  // of the reference: its highest logit minus its logit of the port's choice
  double rms = 0;     // of the reference's row
  bool tie = false;   // the margin lies within the noise of the reference itself
};

struct LogitsMetrics {
  int64_t rows = 0, vocab = 0;
  int64_t same_top1 = 0;
  double top_k_overlap = 0;        // mean share of the kTopK highest that both have
  double kl_mean = 0, kl_max = 0;  // KL(reference || port) in nats
  int64_t kl_max_row = 0;
  double min_margin = 0;  // smallest gap between the reference's two highest
  int64_t min_margin_row = 0;
  int64_t n_flips = 0;
  std::vector<Flip> flips;  // the first 32
};

/// Both [rows, vocab], finite.
LogitsMetrics compare_logits(const View& reference, const View& port, bool drop_pages,
                             ThreadPool& pool);

/// Index of the highest element of row `row`, and its gap to the next.
struct Winner {
  int64_t id = 0;
  double margin = 0;
};
Winner winner(const View& logits, int64_t row);

}  // namespace lockstep::parity
