#include "parity/compare_rows.h"

#include <algorithm>
#include <cstring>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "parity/compare_rows.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace lockstep::parity::HWY_NAMESPACE {
#if HWY_TARGET == HWY_SCALAR
// Vectors of one lane have no halves: the same sums, plainly.

void AddRowTile(const float* ref, const float* port, int64_t n, int64_t column, RowSums& row,
                const ChannelSums& channels) {
  const auto hash = [column](uint64_t& h, uint32_t x, int64_t i) {
    h = (h ^ (x + static_cast<uint64_t>(column + i) * 0x2545f491u)) * 0x9e3779b97f4a7c15u;
    h ^= h >> 29;
  };
  for (int64_t i = 0; i < n; ++i) {
    uint32_t ref_bits = 0, port_bits = 0;
    float narrow_ref = 0, narrow_port = 0;
    std::memcpy(&ref_bits, ref + i, sizeof ref_bits);
    std::memcpy(&port_bits, port + i, sizeof port_bits);
    std::memcpy(&narrow_ref, &ref_bits, sizeof ref_bits);
    std::memcpy(&narrow_port, &port_bits, sizeof port_bits);
    hash(row.ref_hash, ref_bits, i);
    hash(row.port_hash, port_bits, i);
    row.ref_bits |= ref_bits;
    row.port_bits |= port_bits;
    const double r = narrow_ref, d = narrow_port - r;
    row.dd += d * d;
    row.dr += d * r;
    row.rr += r * r;
    row.abs += d < 0 ? -d : d;
    row.max = std::max(row.max, d < 0 ? -d : d);
    channels.dd[i] += d * d;
    channels.dr[i] += d * r;
    channels.rr[i] += r * r;
  }
}

void WidenBfloat16(const uint16_t* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; ++i) {
    uint16_t half = 0;
    std::memcpy(&half, from + i, sizeof half);
    const uint32_t bits = static_cast<uint32_t>(half) << 16;
    std::memcpy(to + i, &bits, sizeof bits);
  }
}

#else
namespace hn = hwy::HWY_NAMESPACE;

using D64 = hn::ScalableTag<double>;
using DHalf = hn::Rebind<float, D64>;
using DU32 = hn::ScalableTag<uint32_t>;
using DU64 = hn::ScalableTag<uint64_t>;

/// What both sides need of their raw bits: a content hash (as XXH3 accumulates: each 64-bit word,
/// keyed by position, adds the product of its halves) and the or of all patterns.
struct BitSums {
  hn::Vec<DU64> hash;
  hn::Vec<DU32> bits;

  void add(hn::Vec<DU32> x, hn::Vec<DU32> key) {
    const DU64 du64;
    const auto keyed = hn::Xor(x, key);
    hash = hn::Add(hash, hn::Add(hn::MulEven(keyed, hn::Shuffle2301(keyed)),
                                 hn::BitCast(du64, hn::Shuffle2301(x))));
    bits = hn::Or(bits, x);
  }

  void finish(uint64_t& out_hash, uint32_t& out_bits) const {
    const DU32 du32;
    const DU64 du64;
    HWY_ALIGN uint64_t words[HWY_MAX_BYTES / 8];
    HWY_ALIGN uint32_t patterns[HWY_MAX_BYTES / 4];
    hn::Store(hash, du64, words);
    hn::Store(bits, du32, patterns);
    for (size_t i = 0; i < hn::Lanes(du64); ++i) {
      out_hash = (out_hash ^ words[i]) * 0x9e3779b97f4a7c15u;
      out_hash ^= out_hash >> 29;
    }
    for (size_t i = 0; i < hn::Lanes(du32); ++i) out_bits |= patterns[i];
  }
};

struct TileSums {
  hn::Vec<D64> dd, dr, rr, abs, max;

  /// Half a vector of floats of each side at `r` and `p`, channels at `c`.
  HWY_INLINE void add(const float* r, const float* p, const ChannelSums& channels, int64_t c) {
    const D64 d64;
    const DHalf dhalf;
    const auto ref = hn::PromoteTo(d64, hn::LoadU(dhalf, r));
    const auto diff = hn::Sub(hn::PromoteTo(d64, hn::LoadU(dhalf, p)), ref);
    dd = hn::MulAdd(diff, diff, dd);
    dr = hn::MulAdd(diff, ref, dr);
    rr = hn::MulAdd(ref, ref, rr);
    const auto size = hn::Abs(diff);
    abs = hn::Add(abs, size);
    max = hn::Max(max, size);
    hn::StoreU(hn::MulAdd(diff, diff, hn::LoadU(d64, channels.dd + c)), d64, channels.dd + c);
    hn::StoreU(hn::MulAdd(diff, ref, hn::LoadU(d64, channels.dr + c)), d64, channels.dr + c);
    hn::StoreU(hn::MulAdd(ref, ref, hn::LoadU(d64, channels.rr + c)), d64, channels.rr + c);
  }
};

void AddRowTile(const float* ref, const float* port, int64_t n, int64_t column, RowSums& row,
                const ChannelSums& channels) {
  const D64 d64;
  const DU32 du32;
  const auto step = static_cast<int64_t>(hn::Lanes(du32));
  const int64_t half = step / 2;
  const auto zero = hn::Zero(d64);
  TileSums sums{zero, zero, zero, zero, zero};
  BitSums ref_bits{hn::Zero(DU64()), hn::Zero(du32)};
  BitSums port_bits = ref_bits;
  auto key = hn::Add(hn::Iota(du32, 0x2545f491u), hn::Set(du32, static_cast<uint32_t>(column)));
  const auto next_key = hn::Set(du32, 0x9e3779b1u);
  const auto add = [&](const float* r, const float* p, int64_t c) {
    ref_bits.add(hn::LoadU(du32, reinterpret_cast<const uint32_t*>(r)), key);
    port_bits.add(hn::LoadU(du32, reinterpret_cast<const uint32_t*>(p)), key);
    key = hn::Add(key, next_key);
    sums.add(r, p, channels, c);
    sums.add(r + half, p + half, channels, c + half);
  };
  int64_t i = 0;
  for (; i + step <= n; i += step) add(ref + i, port + i, i);
  if (i < n) {
    // Zeros in the padding add nothing to any sum, and the same to every hash of this width.
    HWY_ALIGN float r[HWY_MAX_BYTES / 4] = {};
    HWY_ALIGN float p[HWY_MAX_BYTES / 4] = {};
    std::memcpy(r, ref + i, static_cast<size_t>(n - i) * sizeof(float));
    std::memcpy(p, port + i, static_cast<size_t>(n - i) * sizeof(float));
    add(r, p, i);
  }
  row.dd += hn::GetLane(hn::SumOfLanes(d64, sums.dd));
  row.dr += hn::GetLane(hn::SumOfLanes(d64, sums.dr));
  row.rr += hn::GetLane(hn::SumOfLanes(d64, sums.rr));
  row.abs += hn::GetLane(hn::SumOfLanes(d64, sums.abs));
  row.max = std::max(row.max, hn::GetLane(hn::MaxOfLanes(d64, sums.max)));
  ref_bits.finish(row.ref_hash, row.ref_bits);
  port_bits.finish(row.port_hash, row.port_bits);
}

void WidenBfloat16(const uint16_t* from, int64_t n, float* to) {
  const DU32 du32;
  const hn::Rebind<uint16_t, DU32> du16;
  const auto step = static_cast<int64_t>(hn::Lanes(du32));
  int64_t i = 0;
  for (; i + step <= n; i += step) {
    const auto wide = hn::ShiftLeft<16>(hn::PromoteTo(du32, hn::LoadU(du16, from + i)));
    hn::StoreU(wide, du32, reinterpret_cast<uint32_t*>(to) + i);
  }
  for (; i < n; ++i) {
    uint16_t half = 0;
    std::memcpy(&half, from + i, sizeof half);
    const uint32_t bits = static_cast<uint32_t>(half) << 16;
    std::memcpy(to + i, &bits, sizeof bits);
  }
}

#endif
}  // namespace lockstep::parity::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lockstep::parity {

HWY_EXPORT(AddRowTile);
HWY_EXPORT(WidenBfloat16);

void add_row_tile(const float* ref, const float* port, int64_t n, int64_t column, RowSums& row,
                  const ChannelSums& channels) noexcept {
  HWY_DYNAMIC_DISPATCH(AddRowTile)(ref, port, n, column, row, channels);
}

void widen_bfloat16(const uint16_t* from, int64_t n, float* to) noexcept {
  HWY_DYNAMIC_DISPATCH(WidenBfloat16)(from, n, to);
}

}  // namespace lockstep::parity
#endif
