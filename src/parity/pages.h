// Giving mapped pages back after use, so that a comparison needs little memory however large the
// files are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/view.h"

namespace lockstep::parity {

/// Maps the pages of [begin, end) of a mapped file in one call, where the system can: a fault for
/// every few pages costs more than comparing them.
void fetch_pages(const std::byte* begin, const std::byte* end) noexcept;
/// Drops the whole pages in [begin, end), which must belong to a file mapped read-only.
void drop_pages(const std::byte* begin, const std::byte* end) noexcept;
/// The same for rows [first, last) of a matrix, where they lie in one stretch.
void drop_rows(const View& view, int64_t first, int64_t last) noexcept;

}  // namespace lockstep::parity
