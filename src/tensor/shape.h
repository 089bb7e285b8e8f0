// Shapes that may hold sizes known only when a step runs (tokens, sequences, pages).
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

#include "tensor/dtype.h"

namespace lockstep {

/// What a dimension counts. kOne makes the dimension the plain number `count`.
enum class Symbol : uint8_t {
  kOne,
  kTokens,           ///< Rows of this step, all sequences together.
  kSequences,        ///< Sequences of this step.
  kSequenceOffsets,  ///< kSequences + 1.
  kLogitRows,        ///< Rows whose logits are wanted.
  kStepPages,        ///< Entries of this step's page tables.
  kCachePages,       ///< Pages a cache holds in all.
  kPageSize,         ///< Tokens a page holds.
  kStateSlots,       ///< Sequences whose states a cache holds in all.
};
inline constexpr int kNumSymbols = 9;

/// `count` times the run-time value of `symbol`.
struct Dim {
  int64_t count = 1;
  Symbol symbol = Symbol::kOne;

  constexpr Dim() = default;
  constexpr Dim(int64_t n) : count(n) {}  // NOLINT: a plain number is the common dimension
  constexpr Dim(Symbol s, int64_t n = 1) : count(n), symbol(s) {}  // NOLINT
  bool is_static() const noexcept { return symbol == Symbol::kOne; }
  friend bool operator==(const Dim&, const Dim&) = default;
};

/// Run-time values of the symbols, indexed by Symbol. kOne is 1.
using SymbolValues = std::array<int64_t, kNumSymbols>;

inline constexpr int kMaxRank = 6;

/// Up to kMaxRank dimensions. A scalar has rank 0.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<Dim> dims);
  explicit Shape(std::span<const int64_t> dims);

  int rank() const noexcept { return rank_; }
  const Dim& operator[](int i) const noexcept { return dims_[i < 0 ? i + rank_ : i]; }
  Dim& operator[](int i) noexcept { return dims_[i < 0 ? i + rank_ : i]; }
  /// Throws kOutOfRange above kMaxRank.
  void push_back(Dim dim);
  std::span<const Dim> dims() const noexcept { return {dims_.data(), static_cast<size_t>(rank_)}; }
  bool is_static() const noexcept;
  /// Number of elements under `symbols`. Throws kOutOfRange when it overflows.
  int64_t elements(const SymbolValues& symbols) const;
  friend bool operator==(const Shape& a, const Shape& b) noexcept;

 private:
  std::array<Dim, kMaxRank> dims_{};
  int rank_ = 0;
};

/// What a value is before any data exists.
struct TensorType {
  DType dtype = DType::kFloat32;
  Shape shape;
  friend bool operator==(const TensorType&, const TensorType&) = default;
};

/// "[tokens, 6, 32]", "bfloat16[957, 192]".
std::string to_string(const Shape& shape);
std::string to_string(const TensorType& type);

/// Product of `dims`; -1 when it overflows int64 or a dimension is negative.
int64_t checked_product(std::span<const int64_t> dims) noexcept;

}  // namespace lockstep
