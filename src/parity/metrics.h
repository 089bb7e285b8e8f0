// Comparing two tensors: every measure of difference in one streaming pass, in float64.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "tensor/view.h"

namespace lockstep::parity {

/// How a tensor's elements are told apart into tokens (rows) and channels (columns).
struct RowLayout {
  int64_t rows = 0, channels = 0;
  /// Row r belongs to token r % tokens: a [heads, queries, keys] tensor has heads * queries rows.
  int64_t tokens = 0;
};

/// Sums from which cosine, scale and distance follow; d is port - reference.
struct Sums {
  double dd = 0, dr = 0, rr = 0;

  double port_norm2() const noexcept { return rr + 2 * dr + dd; }
  /// |p - r| / |r|; 0 when both are 0, infinity when only the reference is.
  double relative_l2() const noexcept;
  double cosine() const noexcept;
  /// The factor that brings the reference closest to the port: <p, r> / <r, r>.
  double alpha() const noexcept;
  /// What no factor explains: |p - alpha r| / |r|.
  double residual() const noexcept;
  Sums& operator+=(const Sums& other) noexcept;
  Sums& operator-=(const Sums& other) noexcept;
};

struct Place {
  int64_t row = -1, token = -1, channel = -1;
  double reference = 0, port = 0;
};

struct TokenMetrics : Sums {
  double max_abs = 0;
};

struct ChannelMetrics : Sums {
  int64_t channel = 0;
};

/// Relative L2 of a whole tensor and of the parts in which it could hide a fault.
struct Profile {
  double total = 0;
  double trimmed = 0;  // without the largest channels
  double token = 0;    // of the worst token
  double channel = 0;  // of the worst channel
  int64_t worst_token = 0, worst_channel = 0;
  int64_t tokens = 0;  // it was taken over; as a floor, the longest run's

  /// The larger of each; the places are left alone.
  void widen(const Profile& other) noexcept;
};

struct TapMetrics {
  RowLayout layout;
  Sums sums;
  double abs_sum = 0, max_abs = 0;
  Place max_place;
  std::vector<TokenMetrics> tokens;
  /// The channels that carry most of the reference's energy, largest first, and all others' sums.
  std::vector<ChannelMetrics> largest;
  std::optional<Sums> without_largest;
  ChannelMetrics worst_channel;
  double worst_channel_g = 0;
  /// On request.
  std::vector<ChannelMetrics> channels;

  int64_t reference_nonfinite = 0, port_nonfinite = 0;
  Place nonfinite_place;
  /// Elements that are masked (below -1e30) on both sides and left out of all sums, and those
  /// masked on one side only.
  int64_t masked = 0, mask_mismatches = 0;
  Place mask_place;

  uint64_t reference_hash = 0, port_hash = 0;  // of the bits; only comparable within a process
  /// Two or more rows, all bit-identical: what a broadcast leaves behind.
  bool reference_rows_equal = false, port_rows_equal = false;
  bool reference_zero = false, port_zero = false;
  /// Or of all float32 bit patterns; 16 low zeros mean that the values fit bfloat16.
  uint32_t reference_bits = 0, port_bits = 0;

  int64_t elements() const noexcept { return layout.rows * layout.channels; }
  double mean_abs() const noexcept;
  Profile profile() const;
  bool identical() const noexcept { return reference_hash == port_hash && sums.dd == 0; }
};

struct CompareOptions {
  /// Rows of the tensor are [heads * queries], as in scores and probabilities.
  bool heads_first = false;
  /// The values may be masked: -infinity is a mask there, not a fault.
  bool may_mask = false;
  bool per_channel = false;
  /// Pages may be given back to the system after use: they belong to a mapped file.
  bool drop_reference = false, drop_port = false;
};

/// Views of both with the same rows and columns, or nothing where the shapes cannot mean the same
/// values: equal shapes, or shapes that differ by merging neighbouring dimensions.
struct Pairing {
  View reference, port;
  RowLayout layout;
};
std::optional<Pairing> pair_shapes(const View& reference, const View& port, bool heads_first);

/// Throws kInvalidArgument for views that pair_shapes() refuses.
TapMetrics compare(const View& reference, const View& port, const CompareOptions& options,
                   ThreadPool& pool);

}  // namespace lockstep::parity
