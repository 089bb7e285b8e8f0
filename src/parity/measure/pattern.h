// How one matrix is made of another, read off the numbers: a factor (and what it is constant over),
// an addend that all rows share, rows or columns elsewhere. Nothing is assumed of what computed
// them. Each answer reproduces `found` from `expected` to within `bar`, or there is none.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "parity/measure/matrix.h"

namespace lockstep::parity::measure {

/// The one factor, found = factor * expected.
std::optional<double> whole_factor(const Array& found, const Array& expected, double bar);
/// A factor a row, a column, or a run of `width` columns.
std::optional<std::vector<double>> row_factors(const Array& found, const Array& expected,
                                               double bar);
std::optional<std::vector<double>> column_factors(const Array& found, const Array& expected,
                                                  double bar);
std::optional<std::vector<double>> run_factors(const Array& found, const Array& expected,
                                               int64_t width, double bar);
/// A factor a block of [rows, columns] of a weight, row-major over blocks; blocks at the end may be
/// smaller.
std::optional<std::vector<double>> block_factors(const Array& found, const Array& expected,
                                                 int64_t rows, int64_t columns, double bar);

/// What is added to every row alike, found = expected + addend; nothing for a single row, where any
/// two would do.
std::optional<std::vector<double>> row_addend(const Array& found, const Array& expected,
                                              double bar);

/// The row (column) of `expected` that each of `found` is; -1 for one that is all zeros. Nothing
/// when one is none of them. Equal ones go to the nearest place.
std::optional<std::vector<int64_t>> row_places(const Array& found, const Array& expected,
                                               double bar);
std::optional<std::vector<int64_t>> column_places(const Array& found, const Array& expected,
                                                  double bar);

/// Whether all of `factors` are one number to within `bar` of it, and that number.
std::optional<double> constant(const std::vector<double>& factors, double bar);
/// Whether `a` and `b` agree to within `bar` of the larger norm.
bool agree(const std::vector<double>& a, const std::vector<double>& b, double bar);

}  // namespace lockstep::parity::measure
