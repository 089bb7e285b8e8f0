#include "parity/replay_values.h"

#include <algorithm>
#include <cmath>

namespace lockstep::parity {
namespace {

// Bits of infinity, which larger magnitudes are not finite from.
template <class Bits>
void nudge(Tensor& tensor, Bits infinity, Nudge kind, std::mt19937_64& random) {
  const Bits magnitude_mask = static_cast<Bits>(~Bits{0}) >> 1;
  const int64_t width = tensor.view().dim(-1);
  bool is_up = false;
  for (int64_t i = 0; i < tensor.view().elements(); ++i) {
    if (kind == Nudge::kElements || i % width == 0) is_up = (random() >> 63) != 0;
    Bits& bits = tensor.data<Bits>()[i];
    const Bits magnitude = bits & magnitude_mask;
    if (magnitude <= 1 || magnitude >= infinity - 1) continue;
    bits = static_cast<Bits>(is_up ? bits + 1 : bits - 1);
  }
}

std::vector<double> sorted_row(const View& view, int64_t row) {
  const int64_t width = view.dim(-1);
  std::vector<double> ids(static_cast<size_t>(width));
  for (int64_t i = 0; i < width; ++i) {
    ids[static_cast<size_t>(i)] = load_element(view.data, view.dtype, row * width + i);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

double share_of_other_rows(const View& found, const View& expected) {
  int64_t n_other = 0;
  for (int64_t row = 0; row < found.rows(); ++row) {
    n_other += sorted_row(found, row) != sorted_row(expected, row);
  }
  return static_cast<double>(n_other) / static_cast<double>(found.rows());
}

}  // namespace

bool is_integer(DType dtype) noexcept { return dtype == DType::kInt32 || dtype == DType::kInt64; }

Tensor convert(const View& from, DType dtype, const std::vector<int64_t>& shape) {
  const Tensor dense = Tensor::copy_of(from);
  Tensor to(dtype, shape);
  if (from.dtype == dtype) {
    std::copy_n(dense.data<std::byte>(), dense.view().bytes(), to.data<std::byte>());
    return to;
  }
  for (int64_t i = 0; i < to.view().elements(); ++i) {
    const double x = load_element(dense.view().data, from.dtype, i);
    if (dtype == DType::kInt32) {
      to.data<int32_t>()[i] = static_cast<int32_t>(x);
    } else if (dtype == DType::kFloat32) {
      to.data<float>()[i] = static_cast<float>(x);
    } else {
      to.data<uint16_t>()[i] = float_to_bfloat16(static_cast<float>(x));
    }
  }
  return to;
}

Tensor nudged(const View& from, Nudge kind, std::mt19937_64& random) {
  Tensor to = Tensor::copy_of(from);
  if (from.dtype == DType::kFloat32) nudge<uint32_t>(to, 0x7F800000, kind, random);
  if (from.dtype == DType::kBFloat16) nudge<uint16_t>(to, 0x7F80, kind, random);
  if (from.dtype == DType::kFloat16) nudge<uint16_t>(to, 0x7C00, kind, random);
  return to;
}

double difference(const View& found, const View& expected) {
  const Tensor a = Tensor::copy_of(found);
  const Tensor b = Tensor::copy_of(expected);
  if (is_integer(found.dtype) && found.dim(-1) == expected.dim(-1)) {
    return share_of_other_rows(a.view(), b.view());
  }
  double energy = 0, norm = 0;
  for (int64_t i = 0; i < a.view().elements(); ++i) {
    const double x = load_element(a.view().data, found.dtype, i);
    const double y = load_element(b.view().data, expected.dtype, i);
    energy += (x - y) * (x - y);
    norm += y * y;
  }
  if (norm == 0) return energy == 0 ? 0 : INFINITY;
  return std::sqrt(energy / norm);
}

}  // namespace lockstep::parity
