// What the normalizer and the decoder of that name share: a pattern and what stands in its place.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/json_part.h"
#include "text/regex.h"

namespace lockstep::text {

/// `{"String": s}` or `{"Regex": r}`, as Replace and Split have it.
struct Pattern {
  std::string literal;         // not empty, or `regex` has a value
  std::optional<Regex> regex;  // where the pattern is one, and for the empty literal

  explicit Pattern(const JsonPart& part);
};

class Replacer {
 public:
  explicit Replacer(const JsonPart& part)
      : pattern_(part.member("pattern")), content_(part.member("content").as_string()) {}

  /// Appends `text` to `out` with every match replaced. Throws kResourceExhausted where `out` would
  /// be longer than `max_bytes`. Returns the length of a match at the start of `text`, 0 for none.
  size_t append_replaced(std::string& out, std::string_view text, size_t max_bytes) const;

  const Pattern& pattern() const noexcept { return pattern_; }
  const std::string& content() const noexcept { return content_; }

 private:
  Pattern pattern_;
  std::string content_;
};

}  // namespace lockstep::text
