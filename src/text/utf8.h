// UTF-8 as code points and back, and what is not UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace lockstep::text {

inline constexpr std::string_view kReplacementCharacter = "\xef\xbf\xbd";

/// Bytes of the character that `lead` begins; 1 for a byte that begins none.
inline size_t utf8_length(char lead) noexcept {
  const auto byte = static_cast<unsigned char>(lead);
  if (byte < 0xc0) return 1;
  return byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

/// The code point at `text[at]`, which must begin a character of valid UTF-8; moves `at` past it.
inline char32_t next_code_point(std::string_view text, size_t& at) noexcept {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80) return text[at++];
  if (lead < 0xe0) {
    at += 2;
    return static_cast<char32_t>((lead & 0x1f) << 6 | (byte(at - 1) & 0x3f));
  }
  if (lead < 0xf0) {
    at += 3;
    return static_cast<char32_t>((lead & 0x0f) << 12 | (byte(at - 2) & 0x3f) << 6 |
                                 (byte(at - 1) & 0x3f));
  }
  at += 4;
  return static_cast<char32_t>((lead & 0x07) << 18 | (byte(at - 3) & 0x3f) << 12 |
                               (byte(at - 2) & 0x3f) << 6 | (byte(at - 1) & 0x3f));
}

/// The code point that ends before `text[end]`, end > 0, of valid UTF-8; moves `end` before it.
char32_t previous_code_point(std::string_view text, size_t& end) noexcept;

void append_code_point(std::string& text, char32_t code_point);
size_t count_code_points(std::string_view text) noexcept;

inline bool is_ascii(std::string_view text) noexcept {
  unsigned char all = 0;
  for (const char c : text) all |= static_cast<unsigned char>(c);
  return all < 0x80;
}

/// Offset of the first byte that is not part of valid UTF-8; npos where all of it is.
size_t find_invalid_utf8(std::string_view text) noexcept;
/// How many bytes at the end of `text` begin a character that is not whole (0 to 3).
size_t incomplete_utf8_tail(std::string_view text) noexcept;
/// Appends `bytes` with every maximal ill-formed part as one U+FFFD, as Rust's and Python's lossy
/// decoding do.
void append_lossy_utf8(std::string& text, std::string_view bytes);

}  // namespace lockstep::text
