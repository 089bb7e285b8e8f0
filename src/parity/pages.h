// Giving mapped pages back after use, so that a comparison needs little memory however large the
// files are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/view.h"

namespace lockstep::parity {

/// Drops the whole pages in [begin, end), which must belong to a file mapped read-only.
void drop_pages(const std::byte* begin, const std::byte* end) noexcept;
/// The same for row `row` of a row-major matrix.
void drop_row(const View& view, int64_t row) noexcept;

}  // namespace lockstep::parity
