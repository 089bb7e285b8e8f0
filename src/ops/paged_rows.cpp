#include "ops/paged_rows.h"

#include <fmt/format.h>

#include "ops/check.h"

namespace lockstep::ops {

void check_paged_rows(std::string_view op, const PagedRows& rows) {
  const auto expect_value = [op](std::string_view what, int64_t index, bool ok,
                                 std::string_view expected, int64_t found) {
    if (ok) return;
    fail(op, fmt::format("{}[{}]", what, index), expected, fmt::format("{}", found));
  };
  const int64_t n = rows.n_sequences;
  if (n < 0) fail(op, "row_offsets", "at least one entry", "none");
  expect_value("row_offsets", 0, rows.row_offsets[0] == 0, "0", rows.row_offsets[0]);
  expect_value("row_offsets", n, rows.row_offsets[n] == rows.n_tokens, "the number of tokens",
               rows.row_offsets[n]);
  expect_value("page_offsets", 0, rows.page_offsets[0] >= 0, "0 or more", rows.page_offsets[0]);
  expect_value("page_offsets", n, rows.page_offsets[n] <= rows.n_pages,
               "at most the number of pages", rows.page_offsets[n]);
  for (int64_t s = 0; s < n; ++s) {
    const int32_t* tokens = rows.row_offsets + s;
    const int32_t* pages = rows.page_offsets + s;
    expect_value("row_offsets", s + 1, tokens[1] >= tokens[0], "no less than before", tokens[1]);
    expect_value("row_offsets", s + 1, tokens[1] <= rows.n_tokens, "at most the number of tokens",
                 tokens[1]);
    expect_value("page_offsets", s + 1, pages[1] >= pages[0], "no less than before", pages[1]);
    const int64_t capacity = (pages[1] - pages[0]) * rows.page_size;
    for (int64_t t = tokens[0]; t < tokens[1]; ++t) {
      const int32_t position = rows.positions[t];
      if (position >= 0 && position < capacity) continue;
      expect_value(
          "positions", t, false,
          fmt::format("a position in [0, {}), what the pages of sequence {} hold", capacity, s),
          position);
    }
  }
  for (int64_t p = rows.page_offsets[0]; p < rows.page_offsets[n]; ++p) {
    expect_value("pages", p, rows.pages[p] >= 0 && rows.pages[p] < rows.n_cache_pages,
                 "a page of the cache", rows.pages[p]);
  }
}

}  // namespace lockstep::ops
