// The inner loop of the comparison: one row of float32 from each side, every sum at once.
#pragma once

#include <cstdint>

namespace lockstep::parity {

/// Sums over one row; d is port - reference. All in float64, so that no sum of squares of float32
/// can overflow: a sum that is not below kSuspicious saw a NaN, an infinity or a mask value.
struct RowSums {
  double dd = 0, dr = 0, rr = 0, abs = 0, max = 0;
  uint64_t ref_hash = 0, port_hash = 0;
  uint32_t ref_bits = 0, port_bits = 0;  // all bit patterns of the row or-ed
};
inline constexpr double kSuspicious = 1e58;

/// Sums by channel over many rows, one element a channel, padded to kRowPad elements more.
struct ChannelSums {
  double* dd;
  double* dr;
  double* rr;
};
inline constexpr int64_t kRowPad = 64;
/// Columns a call may have, so that the channel sums it updates stay in the first-level cache; a
/// multiple of every vector length.
inline constexpr int64_t kTileColumns = 1024;

/// Adds `n` <= kTileColumns elements of one row, which begins at column `column`, to `row` and
/// `channels` (already offset to that column). `ref` and `port` may be unaligned to float.
void add_row_tile(const float* ref, const float* port, int64_t n, int64_t column, RowSums& row,
                  const ChannelSums& channels) noexcept;

/// n elements of bfloat16 widened.
void widen_bfloat16(const uint16_t* from, int64_t n, float* to) noexcept;

}  // namespace lockstep::parity
