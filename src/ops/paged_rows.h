// The rows of a step and the pages their sequences have in a paged cache, as the ops that read such
// caches get them (attention.h draws them), and the checks that only their data allows.
#pragma once

#include <cstdint>
#include <string_view>

namespace lockstep::ops {

struct PagedRows {
  const int32_t* positions;     // [n_tokens]
  const int32_t* row_offsets;   // [n_sequences + 1]
  const int32_t* page_offsets;  // [n_sequences + 1]
  const int32_t* pages;         // [n_pages]
  int64_t n_tokens, n_sequences, n_pages, page_size, n_cache_pages;
};

/// Throws kInvalidArgument, naming `op`, the entry, what is expected and what is found.
void check_paged_rows(std::string_view op, const PagedRows& rows);

}  // namespace lockstep::ops
