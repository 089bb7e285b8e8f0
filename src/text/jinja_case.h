// Characters whose capital is several characters, of Unicode's SpecialCasing.txt.
#pragma once

#include <string_view>

namespace lockstep::jinja {

struct SpecialCase {
  char32_t character;
  std::u32string_view upper;
  std::u32string_view title;
};

/// nullptr when the simple mapping of one character to one is right.
const SpecialCase* find_special_case(char32_t c) noexcept;

}  // namespace lockstep::jinja
