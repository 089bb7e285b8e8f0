#include "parity/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "lockstep/error.h"
#include "parity/compare_rows.h"
#include "parity/pages.h"

namespace lockstep::parity {

double Sums::relative_l2() const noexcept {
  if (rr > 0) return std::sqrt(dd / rr);
  return dd > 0 ? std::numeric_limits<double>::infinity() : 0.0;
}
double Sums::cosine() const noexcept {
  const double norms = std::sqrt(rr) * std::sqrt(std::max(0.0, port_norm2()));
  if (norms > 0) return std::min(1.0, std::max(-1.0, (rr + dr) / norms));
  return dd > 0 ? 0.0 : 1.0;
}
double Sums::alpha() const noexcept { return rr > 0 ? 1 + dr / rr : 1.0; }
double Sums::residual() const noexcept {
  // p - alpha r = d - (dr/rr) r: written in d, so that nothing cancels when p is close to r.
  if (rr <= 0) return relative_l2();
  return std::sqrt(std::max(0.0, dd - dr * dr / rr) / rr);
}
Sums& Sums::operator+=(const Sums& o) noexcept {
  dd += o.dd;
  dr += o.dr;
  rr += o.rr;
  return *this;
}
Sums& Sums::operator-=(const Sums& o) noexcept {
  dd = std::max(0.0, dd - o.dd);
  dr -= o.dr;
  rr = std::max(0.0, rr - o.rr);
  return *this;
}
double TapMetrics::mean_abs() const noexcept {
  const int64_t n = elements() - masked;
  return n > 0 ? abs_sum / static_cast<double>(n) : 0.0;
}

void Profile::widen(const Profile& o) noexcept {
  total = std::max(total, o.total);
  trimmed = std::max(trimmed, o.trimmed);
  token = std::max(token, o.token);
  channel = std::max(channel, o.channel);
  tokens = std::max(tokens, o.tokens);
}

namespace {

/// A hundredth of the median energy: a part with less is weighed as if it had that much, because
/// relative noise of what is nearly zero says nothing.
template <class Part>
double least_energy(const std::vector<Part>& parts) {
  std::vector<double> energy;
  energy.reserve(parts.size());
  for (const Part& part : parts) energy.push_back(part.rr);
  if (energy.empty()) return 0;
  const auto middle = energy.begin() + static_cast<ptrdiff_t>(energy.size() / 2);
  std::nth_element(energy.begin(), middle, energy.end());
  return *middle / 100;
}

double part_g(const Sums& sums, double least) {
  Sums part = sums;
  part.rr = std::max(part.rr, least);
  return part.relative_l2();
}

}  // namespace

Profile TapMetrics::profile() const {
  Profile out;
  out.total = sums.relative_l2();
  out.tokens = layout.tokens;
  out.trimmed = without_largest ? without_largest->relative_l2() : out.total;
  out.channel = worst_channel_g;
  out.worst_channel = worst_channel.channel;
  const double least = least_energy(tokens);
  for (size_t t = 0; t < tokens.size(); ++t) {
    const double g = part_g(tokens[t], least);
    if (g <= out.token) continue;
    out.token = g;
    out.worst_token = static_cast<int64_t>(t);
  }
  return out;
}

namespace {

constexpr double kMasked = -1e30;         // attention masks add the lowest finite value
constexpr int64_t kBlockBytes = 1 << 20;  // of one side, between two drops of pages
constexpr int64_t kMaxChannelSums = 1 << 20;
constexpr int64_t kMaxParts = 8;
constexpr int kMaxLargest = 8;

std::vector<int64_t> shape_of(const View& v) { return {v.shape.begin(), v.shape.begin() + v.rank}; }

/// Whether merging neighbouring dimensions of `fine` gives `coarse` (ones do not count).
bool merges_into(const std::vector<int64_t>& fine, const std::vector<int64_t>& coarse) {
  size_t i = 0;
  for (const int64_t want : coarse) {
    if (want == 1) continue;
    int64_t have = 1;
    while (have < want && i < fine.size()) have *= fine[i++];
    if (have != want) return false;
  }
  while (i < fine.size() && fine[i] == 1) ++i;
  return i == fine.size();
}

View reshaped(const View& view, std::span<const int64_t> shape) {
  return make_view(view.data, view.dtype, shape);
}

/// Rows of a view as floats or doubles, wherever and however they lie.
class RowReader {
 public:
  RowReader(const View& view, bool heads_first) : view_(view), size_(dtype_size(view.dtype)) {
    first_inner_ = std::min(view.rank, heads_first ? 2 : 1);
    int64_t expected = 1;
    for (int i = view.rank - 1; i >= first_inner_; --i) {
      contiguous_ = contiguous_ && (view.shape[i] == 1 || view.stride[i] == expected);
      expected *= view.shape[i];
    }
  }

  const std::byte* at(int64_t row) const noexcept {
    int64_t offset = 0;
    if (first_inner_ == 1) offset = row * view_.stride[0];
    if (first_inner_ == 2) {
      offset = row / view_.shape[1] * view_.stride[0] + row % view_.shape[1] * view_.stride[1];
    }
    return static_cast<const std::byte*>(view_.data) + static_cast<size_t>(offset) * size_;
  }

  /// Elements [column, column + n) of `row`: where they lie, or converted into `scratch`.
  const float* floats(int64_t row, int64_t column, int64_t n, float* scratch) const noexcept {
    const std::byte* base = at(row);
    if (contiguous_) {
      const std::byte* from = base + static_cast<size_t>(column) * size_;
      if (view_.dtype == DType::kFloat32) return reinterpret_cast<const float*>(from);
      if (view_.dtype == DType::kBFloat16) {
        widen_bfloat16(reinterpret_cast<const uint16_t*>(from), n, scratch);
        return scratch;
      }
    }
    for (int64_t i = 0; i < n; ++i) {
      scratch[i] = static_cast<float>(load_element(base, view_.dtype, offset(column + i)));
    }
    return scratch;
  }

  void doubles(int64_t row, int64_t column, int64_t n, double* out) const noexcept {
    const std::byte* base = at(row);
    for (int64_t i = 0; i < n; ++i) out[i] = load_element(base, view_.dtype, offset(column + i));
  }

  double element(int64_t row, int64_t column) const noexcept {
    return load_element(at(row), view_.dtype, offset(column));
  }

 private:
  /// Of element `column` of a row, from the row's begin.
  int64_t offset(int64_t column) const noexcept {
    if (contiguous_) return column;
    int64_t out = 0;
    for (int i = view_.rank - 1; i >= first_inner_; --i) {
      out += column % view_.shape[i] * view_.stride[i];
      column /= view_.shape[i];
    }
    return out;
  }

  View view_;
  size_t size_;
  int first_inner_ = 1;
  bool contiguous_ = true;
};

struct Worker {
  std::vector<float> ref, port;
  std::vector<double> ref64, port64;
  bool suspicious = false;
};

/// The sums of each channel over one part of the rows. Parts are the tensor's own, not a worker's:
/// sums must not depend on who took which rows.
struct PartSums {
  std::vector<double> dd, dr, rr;
};

struct Careful {
  int64_t ref_nonfinite = 0, port_nonfinite = 0, masked = 0, mismatches = 0;
  int64_t nonfinite_row = -1, nonfinite_column = 0, mask_row = -1, mask_column = 0;
};

class Comparison {
 public:
  Comparison(const Pairing& pairing, const CompareOptions& options, ThreadPool& pool)
      : pairing_(pairing),
        options_(options),
        pool_(pool),
        ref_(pairing.reference, options.heads_first),
        port_(pairing.port, options.heads_first) {
    layout_ = pairing.layout;
    wide_ = is_wide(pairing.reference.dtype) || is_wide(pairing.port.dtype);
    keep_channels_ = layout_.channels <= kMaxChannelSums;
    if (options.may_mask) {
      const DType r = pairing.reference.dtype, p = pairing.port.dtype;
      ref_is_bool_mask_ = r == DType::kBool && is_floating(p);
      port_is_bool_mask_ = p == DType::kBool && is_floating(r);
    }
  }

  TapMetrics run() {
    TapMetrics out;
    out.layout = layout_;
    if (out.elements() == 0) return out;
    // Masks make float sums useless, and are rare outside scores: one careful pass at once.
    careful_mode_ = options_.may_mask;
    pass();
    if (!careful_mode_ && suspicious()) {
      careful_mode_ = true;
      pass();
    }
    collect(out);
    drop_all();
    return out;
  }

 private:
  static bool is_wide(DType d) noexcept {
    return d == DType::kFloat64 || (!is_floating(d) && dtype_size(d) >= 4);
  }

  bool suspicious() const {
    return std::any_of(workers_.begin(), workers_.end(),
                       [](const Worker& w) { return w.suspicious; });
  }

  void pass() {
    rows_.assign(static_cast<size_t>(layout_.rows), RowSums());
    careful_.assign(careful_mode_ ? rows_.size() : 0, Careful());
    workers_.assign(static_cast<size_t>(pool_.size()), Worker());
    for (Worker& w : workers_) {
      w.ref.resize(kTileColumns + kRowPad);
      w.port.resize(kTileColumns + kRowPad);
      w.ref64.resize(kTileColumns);
      w.port64.resize(kTileColumns);
    }
    const int64_t row_bytes = layout_.channels * 4;
    const int64_t block = std::max<int64_t>(1, kBlockBytes / row_bytes);
    const int64_t part_rows = rows_of_a_part(row_bytes);
    const int64_t n_parts = (layout_.rows + part_rows - 1) / part_rows;
    const auto sums =
        static_cast<size_t>((keep_channels_ ? layout_.channels : kTileColumns) + kRowPad);
    const std::vector<double> zeros(sums);
    parts_.assign(static_cast<size_t>(n_parts), {zeros, zeros, zeros});
    pool_.parallel_for(n_parts, 1, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t part = begin; part < end; ++part) {
        const int64_t last = std::min(layout_.rows, (part + 1) * part_rows);
        for (int64_t at = part * part_rows; at < last; at += block) {
          run_block(at, std::min(last, at + block), workers_[static_cast<size_t>(worker)],
                    parts_[static_cast<size_t>(part)]);
        }
      }
    });
  }

  /// Few enough parts that the sums of their channels stay small beside the rows.
  int64_t rows_of_a_part(int64_t row_bytes) const {
    const int64_t most = std::clamp<int64_t>(kMaxChannelSums / layout_.channels, 2, kMaxParts);
    const int64_t least_rows = std::max<int64_t>(1, kBlockBytes / 4 / row_bytes);
    return std::max((layout_.rows + most - 1) / most, least_rows);
  }

  void run_block(int64_t begin, int64_t end, Worker& w, PartSums& part) noexcept {
    if (options_.drop_reference) for_rows(ref_, pairing_.reference, begin, end, fetch_pages);
    if (options_.drop_port) for_rows(port_, pairing_.port, begin, end, fetch_pages);
    for (int64_t column = 0; column < layout_.channels; column += kTileColumns) {
      const int64_t n = std::min(kTileColumns, layout_.channels - column);
      const int64_t c = keep_channels_ ? column : 0;
      const ChannelSums channels{part.dd.data() + c, part.dr.data() + c, part.rr.data() + c};
      for (int64_t row = begin; row < end; ++row) {
        RowSums& sums = rows_[static_cast<size_t>(row)];
        if (wide_ || careful_mode_) {
          run_tile_double(row, column, n, w, sums, channels);
        } else {
          add_row_tile(ref_.floats(row, column, n, w.ref.data()),
                       port_.floats(row, column, n, w.port.data()), n, column, sums, channels);
        }
      }
    }
    for (int64_t row = begin; row < end; ++row) {
      const RowSums& sums = rows_[static_cast<size_t>(row)];
      w.suspicious = w.suspicious || !(sums.rr + sums.dd < kSuspicious);
    }
    if (options_.drop_reference) for_rows(ref_, pairing_.reference, begin, end, drop_pages);
    if (options_.drop_port) for_rows(port_, pairing_.port, begin, end, drop_pages);
  }

  /// Calls `body` on the bytes of some rows, where they lie in one stretch.
  template <class Body>
  void for_rows(const RowReader& reader, const View& view, int64_t begin, int64_t end,
                Body&& body) const noexcept {
    if (!view.is_contiguous()) return;
    const auto row_bytes = layout_.channels * static_cast<int64_t>(dtype_size(view.dtype));
    body(reader.at(begin), reader.at(end - 1) + row_bytes);
  }

  void run_tile_double(int64_t row, int64_t column, int64_t n, Worker& w, RowSums& sums,
                       const ChannelSums& channels) noexcept {
    ref_.doubles(row, column, n, w.ref64.data());
    port_.doubles(row, column, n, w.port64.data());
    for (int64_t i = 0; i < n; ++i) {
      double r = w.ref64[static_cast<size_t>(i)];
      double p = w.port64[static_cast<size_t>(i)];
      add_bits(r, sums.ref_hash, sums.ref_bits);
      add_bits(p, sums.port_hash, sums.port_bits);
      if (ref_is_bool_mask_) r = r != 0 ? 0 : kMasked;
      if (port_is_bool_mask_) p = p != 0 ? 0 : kMasked;
      if (careful_mode_ && !keep(row, column + i, r, p)) continue;
      const double d = p - r;
      sums.dd += d * d;
      sums.dr += d * r;
      sums.rr += r * r;
      sums.abs += std::abs(d);
      sums.max = std::max(sums.max, std::abs(d));
      channels.dd[i] += d * d;
      channels.dr[i] += d * r;
      channels.rr[i] += r * r;
    }
  }

  static void add_bits(double x, uint64_t& hash, uint32_t& bits) noexcept {
    hash = (hash ^ std::bit_cast<uint64_t>(x)) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
    const auto narrow = static_cast<float>(x);
    bits |= std::bit_cast<uint32_t>(narrow);
    if (static_cast<double>(narrow) != x) bits |= 1u;
  }

  /// False for elements that no sum can hold; counts why.
  bool keep(int64_t row, int64_t column, double r, double p) noexcept {
    Careful& c = careful_[static_cast<size_t>(row)];
    const auto bad = [&](double x) { return !std::isfinite(x) && !(options_.may_mask && x < 0); };
    const bool ref_bad = bad(r), port_bad = bad(p);
    if (ref_bad || port_bad) {
      if (c.nonfinite_row < 0) {
        c.nonfinite_row = row;
        c.nonfinite_column = column;
      }
      c.ref_nonfinite += ref_bad;
      c.port_nonfinite += port_bad;
      return false;
    }
    if (r > kMasked && p > kMasked) return true;
    if (r <= kMasked && p <= kMasked) {
      ++c.masked;
      return false;
    }
    if (c.mask_row < 0) {
      c.mask_row = row;
      c.mask_column = column;
    }
    ++c.mismatches;
    return false;
  }

  Place place(int64_t row, int64_t column) const {
    return {row, row % layout_.tokens, column, ref_.element(row, column),
            port_.element(row, column)};
  }

  void collect(TapMetrics& out) const {
    collect_rows(out);
    for (const Careful& c : careful_) {
      if (c.nonfinite_row >= 0 && out.nonfinite_place.row < 0) {
        out.nonfinite_place = place(c.nonfinite_row, c.nonfinite_column);
      }
      if (c.mask_row >= 0 && out.mask_place.row < 0) {
        out.mask_place = place(c.mask_row, c.mask_column);
      }
      out.reference_nonfinite += c.ref_nonfinite;
      out.port_nonfinite += c.port_nonfinite;
      out.masked += c.masked;
      out.mask_mismatches += c.mismatches;
    }
    if (keep_channels_) collect_channels(out);
  }

  void collect_rows(TapMetrics& out) const {
    out.tokens.assign(static_cast<size_t>(layout_.tokens), {});
    out.reference_rows_equal = out.port_rows_equal = layout_.rows > 1;
    int64_t max_row = -1;
    for (int64_t row = 0; row < layout_.rows; ++row) {
      const RowSums& s = rows_[static_cast<size_t>(row)];
      const Sums sums{s.dd, s.dr, s.rr};
      TokenMetrics& token = out.tokens[static_cast<size_t>(row % layout_.tokens)];
      token += sums;
      token.max_abs = std::max(token.max_abs, s.max);
      out.sums += sums;
      out.abs_sum += s.abs;
      if (s.max > out.max_abs || max_row < 0) {
        out.max_abs = std::max(out.max_abs, s.max);
        max_row = row;
      }
      out.reference_bits |= s.ref_bits;
      out.port_bits |= s.port_bits;
      const uint64_t salt = static_cast<uint64_t>(row + 1) * 0xc2b2ae3d27d4eb4fu;
      out.reference_hash += mix(s.ref_hash ^ salt);
      out.port_hash += mix(s.port_hash ^ salt);
      out.reference_rows_equal = out.reference_rows_equal && s.ref_hash == rows_[0].ref_hash;
      out.port_rows_equal = out.port_rows_equal && s.port_hash == rows_[0].port_hash;
    }
    out.reference_zero = (out.reference_bits & 0x7fffffffu) == 0;
    out.port_zero = (out.port_bits & 0x7fffffffu) == 0;
    int64_t column = 0;
    for (int64_t c = 0; c < layout_.channels; ++c) {
      if (std::abs(port_.element(max_row, c) - ref_.element(max_row, c)) == out.max_abs) {
        column = c;
        break;
      }
    }
    out.max_place = place(max_row, column);
  }

  static uint64_t mix(uint64_t x) noexcept {
    x = (x ^ (x >> 31)) * 0x7fb5d329728ea185u;
    return x ^ (x >> 27);
  }

  void collect_channels(TapMetrics& out) const {
    std::vector<ChannelMetrics> channels(static_cast<size_t>(layout_.channels));
    for (size_t c = 0; c < channels.size(); ++c) {
      channels[c].channel = static_cast<int64_t>(c);
      for (const PartSums& p : parts_) channels[c] += Sums{p.dd[c], p.dr[c], p.rr[c]};
    }
    const double least = least_energy(channels);
    for (const ChannelMetrics& channel : channels) {
      const double g = part_g(channel, least);
      if (g <= out.worst_channel_g) continue;
      out.worst_channel_g = g;
      out.worst_channel = channel;
    }
    if (layout_.channels >= 16) {
      const auto k = std::clamp<ptrdiff_t>(layout_.channels / 64, 1, kMaxLargest);
      std::vector<ChannelMetrics> by_energy = channels;
      std::partial_sort(
          by_energy.begin(), by_energy.begin() + k, by_energy.end(),
          [](const ChannelMetrics& a, const ChannelMetrics& b) { return a.rr > b.rr; });
      out.largest.assign(by_energy.begin(), by_energy.begin() + k);
      Sums rest;
      for (auto it = by_energy.begin() + k; it != by_energy.end(); ++it) rest += *it;
      out.without_largest = rest;
    }
    if (options_.per_channel) out.channels = std::move(channels);
  }

  void drop_all() const noexcept {
    const auto drop = [](const View& v) {
      if (!v.is_contiguous()) return;
      const auto* begin = static_cast<const std::byte*>(v.data);
      drop_pages(begin, begin + v.bytes());
    };
    if (options_.drop_reference) drop(pairing_.reference);
    if (options_.drop_port) drop(pairing_.port);
  }

  const Pairing& pairing_;
  const CompareOptions& options_;
  ThreadPool& pool_;
  RowReader ref_, port_;
  RowLayout layout_;
  /// One side says where to look, the other adds to the scores: the same thing.
  bool ref_is_bool_mask_ = false, port_is_bool_mask_ = false;
  bool wide_ = false, careful_mode_ = false, keep_channels_ = true;
  std::vector<RowSums> rows_;
  std::vector<Careful> careful_;
  std::vector<Worker> workers_;
  std::vector<PartSums> parts_;
};

}  // namespace

std::optional<Pairing> pair_shapes(const View& reference, const View& port, bool heads_first) {
  Pairing out{reference, port, {}};
  const auto r = shape_of(reference), p = shape_of(port);
  if (r != p) {
    if (reference.elements() != port.elements() || heads_first) return {};
    // The coarser shape says the rows; only what lies contiguously can be cut anew.
    if (merges_into(r, p) && reference.is_contiguous()) {
      out.reference = reshaped(reference, p);
    } else if (merges_into(p, r) && port.is_contiguous()) {
      out.port = reshaped(port, r);
    } else if (!r.empty() && !p.empty() && r[0] == p[0] &&
               (merges_into(r, p) || merges_into(p, r))) {
      // Same rows; the rest is read in order either way.
    } else {
      return {};
    }
  }
  if (heads_first && reference.rank == 3) {
    out.layout = {r[0] * r[1], r[2], r[1]};
    return out;
  }
  if (heads_first) return {};
  const int64_t rows = out.reference.rank == 0 ? 1 : out.reference.shape[0];
  out.layout = {rows, rows > 0 ? reference.elements() / rows : 0, rows};
  return out;
}

TapMetrics compare(const View& reference, const View& port, const CompareOptions& options,
                   ThreadPool& pool) {
  const auto pairing = pair_shapes(reference, port, options.heads_first);
  if (!pairing) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("cannot compare {} with {}", to_string(reference), to_string(port)));
  }
  return Comparison(*pairing, options, pool).run();
}

}  // namespace lockstep::parity
