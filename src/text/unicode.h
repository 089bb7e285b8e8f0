// Properties of code points, named as the reference names them, from utf8proc's tables.
#pragma once

#include <string>
#include <string_view>

namespace lockstep::text {

bool is_white_space(char32_t c) noexcept;  // White_Space
bool is_numeric(char32_t c) noexcept;      // Nd, Nl, No
bool is_mark(char32_t c) noexcept;         // Mn, Mc, Me
bool is_nonspacing_mark(char32_t c) noexcept;
bool is_punctuation(char32_t c) noexcept;        // P*, and ASCII's symbols
bool is_control_or_format(char32_t c) noexcept;  // Cc, Cf, Co
bool is_word(char32_t c) noexcept;  // \w of UTS 18: alphabetic, marks, digits, connectors, joiners

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

/// The normal form of `text`, valid UTF-8, in time linear in its length.
std::string normal_form(std::string_view text, NormalForm form);
/// Lower case character by character, without context.
std::string lower_case(std::string_view text);

/// Length in bytes of the extended grapheme cluster that begins at `text[at]`.
size_t grapheme_length(std::string_view text, size_t at) noexcept;

}  // namespace lockstep::text
