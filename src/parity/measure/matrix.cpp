#include "parity/measure/matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lockstep/error.h"

namespace lockstep::parity::measure {
namespace {

// Of one row, in the energy of the difference and of what is expected.
struct Energy {
  double difference = 0, expected = 0;
};

Energy energy_of(std::span<const double> found, std::span<const double> expected) {
  Energy e;
  for (size_t i = 0; i < found.size(); ++i) {
    const double d = found[i] - expected[i];
    e.difference += d * d;
    e.expected += expected[i] * expected[i];
  }
  return e;
}

}  // namespace

Array row_range(const Array& m, int64_t begin, int64_t end) {
  Array part = matrix(end - begin, m.width());
  std::copy_n(m.values.begin() + begin * m.width(), part.values.size(), part.values.begin());
  return part;
}

Array column_range(const Array& m, int64_t begin, int64_t end) {
  Array part = matrix(m.rows(), end - begin);
  for (int64_t r = 0; r < m.rows(); ++r) {
    std::ranges::copy(
        row(m, r).subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin)),
        part.row(r));
  }
  return part;
}

Array transposed(const Array& m) {
  Array t = matrix(m.width(), m.rows());
  for (int64_t r = 0; r < m.rows(); ++r) {
    for (int64_t c = 0; c < m.width(); ++c) at(t, c, r) = at(m, r, c);
  }
  return t;
}

Array product(const Array& x, const Array& w) {
  if (x.width() != w.width()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("product of [{}, {}] and [{}, {}]: the last dimensions differ",
                            x.rows(), x.width(), w.rows(), w.width()));
  }
  Array y{x.shape, std::vector<double>(static_cast<size_t>(x.rows() * w.rows()))};
  y.shape.back() = w.rows();
  // Rows of w outside: each is read once for all of x.
  for (int64_t n = 0; n < w.rows(); ++n) {
    const std::span<const double> weights = row(w, n);
    for (int64_t r = 0; r < x.rows(); ++r) {
      const std::span<const double> values = row(x, r);
      double sums[4] = {};
      size_t k = 0;
      for (; k + 4 <= values.size(); k += 4) {
        for (size_t i = 0; i < 4; ++i) sums[i] += values[k + i] * weights[k + i];
      }
      for (; k < values.size(); ++k) sums[0] += values[k] * weights[k];
      at(y, r, n) = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }
  }
  return y;
}

Array map(Array m, const std::function<double(double)>& f) {
  for (double& x : m.values) x = f(x);
  return m;
}

Array map(Array a, const Array& b, const std::function<double(double, double)>& f) {
  for (size_t i = 0; i < a.values.size(); ++i) {
    a.values[i] = f(a.values[i], b.values[i % b.values.size()]);
  }
  return a;
}

Array sum(Array a, const Array& b) {
  return map(std::move(a), b, [](double x, double y) { return x + y; });
}

Array scaled(Array m, double factor) {
  for (double& x : m.values) x *= factor;
  return m;
}

bool reproduces(const Array& found, const Array& expected, double bar) {
  if (!(distance(found, expected) <= bar)) return false;
  double total = 0;
  for (const double x : expected.values) total += x * x;
  // A row that is nearly zero is weighed as if it had a hundredth of the usual energy.
  const double least = total / static_cast<double>(std::max<int64_t>(1, expected.rows())) / 100;
  const Array& rows = expected;
  for (int64_t r = 0; r < rows.rows(); ++r) {
    const auto n = static_cast<size_t>(rows.width());
    const Energy e = energy_of({found.values.data() + r * rows.width(), n}, row(rows, r));
    const double most = kRowFactor * bar;
    if (e.difference > most * most * std::max(e.expected, least)) return false;
  }
  return true;
}

}  // namespace lockstep::parity::measure
