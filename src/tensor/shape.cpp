// Shapes with symbolic dimensions: sizes, comparison and text.
#include "tensor/shape.h"

#include <fmt/format.h>

#include <algorithm>

#include "lockstep/error.h"

namespace lockstep {
namespace {

constexpr std::array<std::string_view, kNumSymbols> kSymbolNames = {
    "",           "tokens",      "sequences", "sequence_offsets", "logit_rows",
    "step_pages", "cache_pages", "page_size", "state_slots",
};

[[noreturn]] void throw_rank(size_t rank) {
  throw Error(ErrorCode::kOutOfRange,
              fmt::format("shape: expected at most {} dimensions, found {}", kMaxRank, rank));
}

std::string to_string(const Dim& dim) {
  if (dim.is_static()) return fmt::format("{}", dim.count);
  const std::string_view name = kSymbolNames[static_cast<size_t>(dim.symbol)];
  return dim.count == 1 ? std::string(name) : fmt::format("{}*{}", dim.count, name);
}

}  // namespace

Shape::Shape(std::initializer_list<Dim> dims) {
  if (dims.size() > kMaxRank) throw_rank(dims.size());
  std::copy(dims.begin(), dims.end(), dims_.begin());
  rank_ = static_cast<int>(dims.size());
}

Shape::Shape(std::span<const int64_t> dims) {
  if (dims.size() > kMaxRank) throw_rank(dims.size());
  std::copy(dims.begin(), dims.end(), dims_.begin());
  rank_ = static_cast<int>(dims.size());
}

void Shape::push_back(Dim dim) {
  if (rank_ == kMaxRank) throw_rank(kMaxRank + 1);
  dims_[static_cast<size_t>(rank_++)] = dim;
}

bool Shape::is_static() const noexcept {
  return std::all_of(dims().begin(), dims().end(), [](const Dim& dim) { return dim.is_static(); });
}

int64_t Shape::elements(const SymbolValues& symbols) const {
  std::array<int64_t, 2 * kMaxRank> factors{};
  size_t n = 0;
  for (const Dim& dim : dims()) {
    factors[n++] = dim.count;
    if (!dim.is_static()) factors[n++] = symbols[static_cast<size_t>(dim.symbol)];
  }
  const int64_t product = checked_product({factors.data(), n});
  if (product < 0) {
    throw Error(ErrorCode::kOutOfRange,
                fmt::format("shape {}: expected a number of elements in 64 bits, found more, or a "
                            "negative size",
                            lockstep::to_string(*this)));
  }
  return product;
}

bool operator==(const Shape& a, const Shape& b) noexcept {
  return std::equal(a.dims().begin(), a.dims().end(), b.dims().begin(), b.dims().end());
}

std::string to_string(const Shape& shape) {
  std::string out = "[";
  for (int i = 0; i < shape.rank(); ++i) {
    if (i > 0) out += ", ";
    out += to_string(shape[i]);
  }
  return out + "]";
}

std::string to_string(const TensorType& type) {
  return std::string(dtype_name(type.dtype)) + to_string(type.shape);
}

int64_t checked_product(std::span<const int64_t> dims) noexcept {
  // Zeros are multiplied last: strides are products of the other dimensions and must fit too.
  int64_t product = 1;
  bool zero = false;
  for (const int64_t dim : dims) {
    if (dim < 0) return -1;
    if (dim == 0) {
      zero = true;
    } else if (__builtin_mul_overflow(product, dim, &product)) {
      return -1;
    }
  }
  return zero ? 0 : product;
}

}  // namespace lockstep
