// Ill-formed parts are the maximal subparts of the Unicode standard, table 3-7.
#include "text/utf8.h"

#include <simdjson.h>

namespace lockstep::text {
namespace {

struct Scan {
  size_t length;  // of a character, or of an ill-formed part
  bool valid;
  bool at_end;  // ill-formed only because the text ends
};

Scan scan_character(std::string_view text, size_t at) noexcept {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) return {1, true, false};
  if (lead < 0xc2 || lead > 0xf4) return {1, false, false};
  const size_t length = utf8_length(text[at]);
  unsigned char low = 0x80;
  unsigned char high = 0xbf;
  if (lead == 0xe0) low = 0xa0;
  if (lead == 0xed) high = 0x9f;
  if (lead == 0xf0) low = 0x90;
  if (lead == 0xf4) high = 0x8f;
  for (size_t i = 1; i < length; ++i) {
    if (at + i == text.size()) return {i, false, true};
    const auto byte = static_cast<unsigned char>(text[at + i]);
    if (byte < low || byte > high) return {i, false, false};
    low = 0x80;
    high = 0xbf;
  }
  return {length, true, false};
}

}  // namespace

char32_t previous_code_point(std::string_view text, size_t& end) noexcept {
  do {
    --end;
  } while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80);
  size_t at = end;
  return next_code_point(text, at);
}

void append_code_point(std::string& text, char32_t code_point) {
  const auto byte = [&](char32_t value) { text.push_back(static_cast<char>(value)); };
  if (code_point < 0x80) {
    byte(code_point);
  } else if (code_point < 0x800) {
    byte(0xc0 | code_point >> 6);
    byte(0x80 | (code_point & 0x3f));
  } else if (code_point < 0x10000) {
    byte(0xe0 | code_point >> 12);
    byte(0x80 | (code_point >> 6 & 0x3f));
    byte(0x80 | (code_point & 0x3f));
  } else {
    byte(0xf0 | code_point >> 18);
    byte(0x80 | (code_point >> 12 & 0x3f));
    byte(0x80 | (code_point >> 6 & 0x3f));
    byte(0x80 | (code_point & 0x3f));
  }
}

size_t count_code_points(std::string_view text) noexcept {
  size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80 ? 1 : 0;
  return count;
}

size_t find_invalid_utf8(std::string_view text) noexcept {
  // The library's call costs more than a look at a short text.
  constexpr size_t kShort = 32;
  if (text.size() > kShort && simdjson::validate_utf8(text.data(), text.size())) return text.npos;
  for (size_t at = 0; at < text.size();) {
    const Scan scan = scan_character(text, at);
    if (!scan.valid) return at;
    at += scan.length;
  }
  return text.npos;
}

size_t incomplete_utf8_tail(std::string_view text) noexcept {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const size_t at = text.size() - back;
    if ((static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) continue;
    const Scan scan = scan_character(text, at);
    return scan.at_end && scan.length == back ? back : 0;
  }
  return 0;
}

void append_lossy_utf8(std::string& text, std::string_view bytes) {
  size_t begin = 0;
  size_t at = 0;
  while (at < bytes.size()) {
    const Scan scan = scan_character(bytes, at);
    if (!scan.valid) {
      text.append(bytes.substr(begin, at - begin));
      text.append(kReplacementCharacter);
      begin = at + scan.length;
    }
    at += scan.length;
  }
  text.append(bytes.substr(begin));
}

}  // namespace lockstep::text
