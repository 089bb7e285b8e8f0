#include "parity/pages.h"

#include <sys/mman.h>
#include <unistd.h>

namespace lockstep::parity {

void drop_pages(const std::byte* begin, const std::byte* end) noexcept {
  static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t from = (reinterpret_cast<uintptr_t>(begin) + page - 1) / page * page;
  const uintptr_t to = reinterpret_cast<uintptr_t>(end) / page * page;
  if (from < to) ::madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
}

void drop_row(const View& view, int64_t row) noexcept {
  if (view.rank != 2 || view.stride[1] != 1) return;
  const size_t size = dtype_size(view.dtype);
  const auto* begin = static_cast<const std::byte*>(view.data) +
                      static_cast<size_t>(row * view.stride[0]) * size;
  drop_pages(begin, begin + static_cast<size_t>(view.shape[1]) * size);
}

}  // namespace lockstep::parity
