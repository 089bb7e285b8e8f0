// Where the reference's tables are of another version of Unicode than utf8proc's: each of its parts
// brings its own, from Unicode 9 to 17, so a few hundred characters differ.
#pragma once

#include <cstdint>

namespace lockstep::text {

struct CodeRange {
  char32_t first, last;
};

/// Properties that are the other way round for some characters: marks of StripAccents, nonspacing
/// marks and controls of BertNormalizer, punctuation, numbers of Digits, \w of Whitespace and added
/// tokens; and marks that normal forms do not order, characters that they do not decompose, and
/// those that UnicodeScripts takes for any script's.
enum class Exception {
  kMark,
  kNonspacingMark,
  kControl,
  kPunctuation,
  kNumeric,
  kWord,
  kUnordered,
  kUndecomposed,
  kWithoutScript,
};

bool is_exception(char32_t c, Exception kind) noexcept;

/// The lower case of a character that got one after utf8proc's version; others as they are.
char32_t newer_lower_case(char32_t c) noexcept;

}  // namespace lockstep::text
