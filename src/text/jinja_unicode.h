// Text as Python's str sees it: code points, character classes, case, lines. Strings are UTF-8;
// lone surrogates, which a template's '\ud800' makes, are encoded as if they were characters.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::jinja {

/// The code point at `pos`, which moves behind it. A byte that starts no sequence stands for
/// itself, so any bytes can be read.
char32_t next_code_point(std::string_view text, size_t& pos) noexcept;
std::u32string decode(std::string_view text);
void append_utf8(std::string& out, char32_t c);
std::string encode(std::u32string_view text);
/// Number of code points.
size_t count_code_points(std::string_view text) noexcept;
/// Byte offset of the code point with this index; the size of the text when there is none.
size_t byte_offset(std::string_view text, size_t index) noexcept;
bool is_valid_utf8(std::string_view text) noexcept;

bool is_space(char32_t c) noexcept;      // str.isspace, \s of a pattern
bool is_printable(char32_t c) noexcept;  // str.isprintable
bool is_alpha(char32_t c) noexcept;
bool is_decimal(char32_t c) noexcept;
bool is_digit(char32_t c) noexcept;
bool is_numeric(char32_t c) noexcept;
bool is_alnum(char32_t c) noexcept;
bool is_lower(char32_t c) noexcept;
bool is_upper(char32_t c) noexcept;
bool is_title(char32_t c) noexcept;
bool is_identifier_start(char32_t c) noexcept;
bool is_identifier_part(char32_t c) noexcept;
/// 0 to 9 of a decimal digit in any script, -1 of anything else.
int decimal_value(char32_t c) noexcept;

/// Full mappings: one character may become several.
std::u32string to_upper(std::u32string_view text);
std::u32string to_lower(std::u32string_view text);
std::u32string casefold(std::u32string_view text);
std::u32string swapcase(std::u32string_view text);
std::u32string capitalize(std::u32string_view text);
std::u32string titlecase(std::u32string_view text);

/// Where `part` first or last occurs in `text`; npos when it does not. Linear time, whatever the
/// two are, where std::string's own search is not.
size_t find_text(std::string_view text, std::string_view part) noexcept;
size_t find_last_text(std::string_view text, std::string_view part);

/// As str.strip() without argument, from the sides asked for.
enum class Side { kLeft, kRight, kBoth };
std::string_view strip_space(std::string_view text, Side side) noexcept;
/// As str.splitlines(): views into `text`.
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends);

}  // namespace lockstep::jinja
