#include "parity/pages.h"

#include <sys/mman.h>
#include <unistd.h>

namespace lockstep::parity {

namespace {
uintptr_t page_bytes() noexcept {
  static const auto bytes = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  return bytes;
}
}  // namespace

void fetch_pages([[maybe_unused]] const std::byte* begin,
                 [[maybe_unused]] const std::byte* end) noexcept {
#ifdef MADV_POPULATE_READ
  const uintptr_t from = reinterpret_cast<uintptr_t>(begin) / page_bytes() * page_bytes();
  ::madvise(reinterpret_cast<void*>(from), reinterpret_cast<uintptr_t>(end) - from,
            MADV_POPULATE_READ);
#endif
}

void drop_pages(const std::byte* begin, const std::byte* end) noexcept {
  const uintptr_t page = page_bytes();
  const uintptr_t from = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
  const uintptr_t to = reinterpret_cast<uintptr_t>(end) / page * page;
  if (from < to) ::madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
}

void drop_rows(const View& view, int64_t first, int64_t last) noexcept {
  if (view.rank != 2 || !view.is_contiguous()) return;
  const size_t row_bytes = static_cast<size_t>(view.shape[1]) * dtype_size(view.dtype);
  const auto* base = static_cast<const std::byte*>(view.data);
  drop_pages(base + static_cast<size_t>(first) * row_bytes,
             base + static_cast<size_t>(last) * row_bytes);
}

}  // namespace lockstep::parity
