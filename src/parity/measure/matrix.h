// Arrays taken as matrices, [rows(), width()]: what the formulas of the catalogue of faults are
// computed in. A tensor [..., width] is a matrix of all its rows.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "parity/explain/array.h"

namespace lockstep::parity::measure {

inline Array matrix(int64_t rows, int64_t columns) {
  return {{rows, columns}, std::vector<double>(static_cast<size_t>(rows * columns))};
}
inline double& at(Array& m, int64_t row, int64_t column) noexcept {
  return m.values[static_cast<size_t>(row * m.width() + column)];
}
inline double at(const Array& m, int64_t row, int64_t column) noexcept {
  return m.values[static_cast<size_t>(row * m.width() + column)];
}
inline std::span<double> row(Array& m, int64_t r) noexcept {
  return {m.row(r), static_cast<size_t>(m.width())};
}
inline std::span<const double> row(const Array& m, int64_t r) noexcept {
  return {m.row(r), static_cast<size_t>(m.width())};
}

/// Rows [begin, end), and columns [begin, end), as matrices.
Array row_range(const Array& m, int64_t begin, int64_t end);
Array column_range(const Array& m, int64_t begin, int64_t end);
Array transposed(const Array& m);
/// x W^T: x [..., k], w [n, k] -> x's shape with n for k. Throws kInvalidArgument where k differs.
Array product(const Array& x, const Array& w);
/// f of each element; f of the elements at the same place, b repeated over rows where it is one
/// row.
Array map(Array m, const std::function<double(double)>& f);
Array map(Array a, const Array& b, const std::function<double(double, double)>& f);
Array sum(Array a, const Array& b);
Array scaled(Array m, double factor);

/// Whether `found` is `expected` to within `bar`: as a whole, and row by row, where a row may be
/// kRowFactor times as far away, so that one wrong head or token of many is no fit. Rows are those
/// of `expected`.
bool reproduces(const Array& found, const Array& expected, double bar);
inline constexpr double kRowFactor = 6;

}  // namespace lockstep::parity::measure
