#include "text/jinja_unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "text/jinja_case.h"

namespace lockstep::jinja {
namespace {

utf8proc_category_t category(char32_t c) noexcept {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_continuation(char c) noexcept { return (static_cast<unsigned char>(c) & 0xc0u) == 0x80u; }

char32_t simple_upper(char32_t c) {
  return static_cast<char32_t>(utf8proc_toupper(static_cast<int>(c)));
}
char32_t simple_lower(char32_t c) {
  return static_cast<char32_t>(utf8proc_tolower(static_cast<int>(c)));
}
char32_t simple_title(char32_t c) {
  return static_cast<char32_t>(utf8proc_totitle(static_cast<int>(c)));
}

void append_upper(std::u32string& out, char32_t c) {
  if (const SpecialCase* special = find_special_case(c)) {
    out += special->upper;
  } else {
    out += simple_upper(c);
  }
}

void append_title(std::u32string& out, char32_t c) {
  if (const SpecialCase* special = find_special_case(c)) {
    out += special->title;
  } else {
    out += simple_title(c);
  }
}

bool is_cased(char32_t c) noexcept { return is_lower(c) || is_upper(c) || is_title(c); }

bool is_case_ignorable(char32_t c) noexcept {
  switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return c == '\'' || c == '.' || c == ':' || c == 0xb7 || c == 0x387 || c == 0x2018 ||
             c == 0x2019 || c == 0x2024 || c == 0x2027;
  }
}

/// Whether the capital sigma at `i` ends a word, and so becomes the final form.
bool is_final_sigma(std::u32string_view text, size_t i) {
  size_t before = i;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  if (before == 0 || !is_cased(text[before - 1])) return false;
  size_t after = i + 1;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return after == text.size() || !is_cased(text[after]);
}

void append_lower(std::u32string& out, std::u32string_view text, size_t i) {
  const char32_t c = text[i];
  if (c == 0x3a3) {
    out += is_final_sigma(text, i) ? U'\u03c2' : U'\u03c3';
  } else if (c == 0x130) {
    out += U"i\u0307";
  } else {
    out += simple_lower(c);
  }
}

}  // namespace

char32_t next_code_point(std::string_view text, size_t& pos) noexcept {
  const auto first = static_cast<unsigned char>(text[pos++]);
  if (first < 0xc0) return first;
  const int n = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
  char32_t c = first & (0x3fu >> n);
  for (int i = 0; i < n && pos < text.size() && is_continuation(text[pos]); ++i) {
    c = c << 6 | (static_cast<unsigned char>(text[pos++]) & 0x3fu);
  }
  return c;
}

std::u32string decode(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) out += next_code_point(text, pos);
  return out;
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&out](unsigned byte) { out += static_cast<char>(byte); };
  const unsigned u = c;
  if (u < 0x80) {
    put(u);
  } else if (u < 0x800) {
    put(0xc0u | u >> 6);
    put(0x80u | (u & 0x3fu));
  } else if (u < 0x10000) {
    put(0xe0u | u >> 12);
    put(0x80u | (u >> 6 & 0x3fu));
    put(0x80u | (u & 0x3fu));
  } else {
    put(0xf0u | u >> 18);
    put(0x80u | (u >> 12 & 0x3fu));
    put(0x80u | (u >> 6 & 0x3fu));
    put(0x80u | (u & 0x3fu));
  }
}

std::string encode(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

size_t count_code_points(std::string_view text) noexcept {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(c); }));
}

size_t byte_offset(std::string_view text, size_t index) noexcept {
  size_t pos = 0;
  while (pos < text.size()) {
    if (!is_continuation(text[pos]) && index-- == 0) return pos;
    ++pos;
  }
  return pos;
}

bool is_valid_utf8(std::string_view text) noexcept {
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  for (size_t pos = 0; pos < text.size();) {
    utf8proc_int32_t c = 0;
    const auto n =
        utf8proc_iterate(bytes + pos, static_cast<utf8proc_ssize_t>(text.size() - pos), &c);
    if (n <= 0) return false;
    pos += static_cast<size_t>(n);
  }
  return true;
}

bool is_space(char32_t c) noexcept {
  if (c < 0x80) return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20);
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
         c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_printable(char32_t c) noexcept {
  if (c < 0x7f) return c >= 0x20;
  switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

bool is_alpha(char32_t c) noexcept {
  const utf8proc_category_t k = category(c);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t c) noexcept { return category(c) == UTF8PROC_CATEGORY_ND; }

bool is_digit(char32_t c) noexcept {
  if (is_decimal(c)) return true;
  return c == 0xb2 || c == 0xb3 || c == 0xb9 || c == 0x2070 || (c >= 0x2074 && c <= 0x2079) ||
         (c >= 0x2080 && c <= 0x2089) || (c >= 0x2460 && c <= 0x2468) ||
         (c >= 0x2474 && c <= 0x247c) || (c >= 0x2488 && c <= 0x2490);
}

bool is_numeric(char32_t c) noexcept {
  const utf8proc_category_t k = category(c);
  return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool is_alnum(char32_t c) noexcept { return is_alpha(c) || is_numeric(c); }

bool is_lower(char32_t c) noexcept {
  if (c < 0x80) return c >= 'a' && c <= 'z';
  return category(c) == UTF8PROC_CATEGORY_LL || c == 0xaa || c == 0xba;
}

bool is_upper(char32_t c) noexcept {
  if (c < 0x80) return c >= 'A' && c <= 'Z';
  return category(c) == UTF8PROC_CATEGORY_LU;
}

bool is_title(char32_t c) noexcept { return category(c) == UTF8PROC_CATEGORY_LT; }

bool is_identifier_start(char32_t c) noexcept {
  return c == '_' || is_alpha(c) || category(c) == UTF8PROC_CATEGORY_NL;
}

bool is_identifier_part(char32_t c) noexcept {
  if (is_identifier_start(c) || is_decimal(c) || c == 0xb7) return true;
  const utf8proc_category_t k = category(c);
  return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_MC || k == UTF8PROC_CATEGORY_PC;
}

int decimal_value(char32_t c) noexcept {
  if (c >= '0' && c <= '9') return static_cast<int>(c - '0');
  if (c < 0x80 || !is_decimal(c)) return -1;
  // Decimal digits come in runs of ten, and a run starts where the class does or ten before.
  int n = 0;
  while (n < 60 && is_decimal(c - static_cast<char32_t>(n) - 1)) ++n;
  return n % 10;
}

std::u32string to_upper(std::u32string_view text) {
  std::u32string out;
  for (const char32_t c : text) append_upper(out, c);
  return out;
}

std::u32string to_lower(std::u32string_view text) {
  std::u32string out;
  for (size_t i = 0; i < text.size(); ++i) append_lower(out, text, i);
  return out;
}

std::u32string casefold(std::u32string_view text) {
  std::u32string out;
  for (const char32_t c : text) {
    std::array<utf8proc_int32_t, 8> folded{};
    int boundary = 0;
    const auto n = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), folded.data(),
                                           folded.size(), UTF8PROC_CASEFOLD, &boundary);
    for (utf8proc_ssize_t i = 0; i < n && i < 8; ++i) {
      out += static_cast<char32_t>(folded[static_cast<size_t>(i)]);
    }
  }
  return out;
}

std::u32string swapcase(std::u32string_view text) {
  std::u32string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_upper(text[i])) {
      append_lower(out, text, i);
    } else if (is_lower(text[i])) {
      append_upper(out, text[i]);
    } else {
      out += text[i];
    }
  }
  return out;
}

std::u32string capitalize(std::u32string_view text) {
  std::u32string out;
  if (!text.empty()) append_title(out, text[0]);
  for (size_t i = 1; i < text.size(); ++i) append_lower(out, text, i);
  return out;
}

std::u32string titlecase(std::u32string_view text) {
  std::u32string out;
  bool inside = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (inside) {
      append_lower(out, text, i);
    } else {
      append_title(out, text[i]);
    }
    inside = is_cased(text[i]);
  }
  return out;
}

size_t find_text(std::string_view text, std::string_view part) noexcept {
  if (part.empty()) return 0;
  const void* found = ::memmem(text.data(), text.size(), part.data(), part.size());
  return found == nullptr ? text.npos
                          : static_cast<size_t>(static_cast<const char*>(found) - text.data());
}

size_t find_last_text(std::string_view text, std::string_view part) {
  constexpr size_t kShort = 16;
  if (part.size() <= kShort) return text.rfind(part);
  const std::string backwards(text.rbegin(), text.rend());
  const size_t at = find_text(backwards, std::string(part.rbegin(), part.rend()));
  return at == text.npos ? at : text.size() - at - part.size();
}

std::string_view strip_space(std::string_view text, Side side) noexcept {
  size_t begin = 0, end = text.size();
  while (side != Side::kRight && begin < end) {
    size_t next = begin;
    if (!is_space(next_code_point(text, next))) break;
    begin = next;
  }
  while (side != Side::kLeft && end > begin) {
    size_t last = end - 1;
    while (last > begin && is_continuation(text[last])) --last;
    size_t next = last;
    if (!is_space(next_code_point(text, next))) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends) {
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t pos = 0; pos < text.size();) {
    const size_t at = pos;
    const char32_t c = next_code_point(text, pos);
    const bool is_end = (c >= 0x0a && c <= 0x0d) || (c >= 0x1c && c <= 0x1e) || c == 0x85 ||
                        c == 0x2028 || c == 0x2029;
    if (!is_end) continue;
    if (c == '\r' && pos < text.size() && text[pos] == '\n') ++pos;
    lines.push_back(text.substr(start, (keep_ends ? pos : at) - start));
    start = pos;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

}  // namespace lockstep::jinja
