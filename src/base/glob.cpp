// Shell-like patterns over names.
#include "base/glob.h"

#include <cstddef>

namespace lockstep {

bool glob_match(std::string_view pattern, std::string_view text) noexcept {
  // On a mismatch only the last `*` has to be widened: an earlier one could match no more than
  // what the last one can take over.
  size_t p = 0, t = 0;
  size_t star = std::string_view::npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace lockstep
