// Rotary position embedding, measured: how channels are paired, which of them turn, by how much a
// position, and what the turn is multiplied with are read off vectors before and after it. Nothing
// is tried from a list but the pairing.
//
//   out = factor * x turned by angle[t, j] = frequency[j] * (position[t] + offset), pair by pair
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "parity/measure/matrix.h"

namespace lockstep::parity::measure {

/// As the styles of the op rope: (i, i + width / 2); (2 i, 2 i + 1); neighbours in, halves out.
enum class Pairing : uint8_t { kHalf, kInterleaved, kInterleavedToHalf };
std::string_view pairing_name(Pairing pairing) noexcept;

struct Rotation {
  Pairing pairing = Pairing::kHalf;
  int64_t first = 0, width = 0;   // channels that turn; width 0: none does
  std::vector<double> frequency;  // [width / 2], radians a position, in the order of pairs
  double offset = 0;              // of positions
  double factor = 1;              // of the length of what turns
};

/// x [tokens, heads, width] as `rotation` turns it; positions [tokens].
Array rotate(const Array& x, std::span<const double> positions, const Rotation& rotation);

/// The rotation that makes y of x, both [tokens, heads, width], to within `bar`; nothing when none
/// does. Needs positions that follow one another, four at least. Of rotations that fit, the
/// narrowest. A frequency is known to about bar / the largest position.
std::optional<Rotation> measure_rotation(const Array& x, const Array& y,
                                         std::span<const double> positions, double bar);

/// Frequencies, offset and factor of tables [tokens, 2 n]: cosines and sines, each frequency twice
/// in the order of `pairing`. Nothing when the tables have another order.
std::optional<Rotation> measure_tables(const Array& cosines, const Array& sines, Pairing pairing,
                                       std::span<const double> positions, double bar);

/// The same of one table alone. Cosines are those of either sign; it is taken as positive.
enum class Table : uint8_t { kCosines, kSines };
std::optional<Rotation> measure_table(const Array& values, Table table, Pairing pairing,
                                      std::span<const double> positions, double bar);
/// [tokens, width].
Array table_of(Table table, const Rotation& rotation, std::span<const double> positions);

/// Heads (tokens) of y [tokens, heads, width] that are those of x.
std::vector<bool> same_heads(const Array& x, const Array& y, double bar);
std::vector<bool> same_tokens(const Array& x, const Array& y, double bar);

}  // namespace lockstep::parity::measure
