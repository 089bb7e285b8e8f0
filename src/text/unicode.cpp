// Normal forms: code points are decomposed one by one and put in canonical order here, because
// utf8proc orders by insertion, which is quadratic in a run of marks; utf8proc composes them.
#include "text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "text/unicode_exceptions.h"
#include "text/utf8.h"

namespace lockstep::text {
namespace {

utf8proc_category_t category(char32_t c) noexcept {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_between(utf8proc_category_t value, utf8proc_category_t low,
                utf8proc_category_t high) noexcept {
  return value >= low && value <= high;
}

bool is_unordered(int32_t c) noexcept {
  return c >= 0x300 && is_exception(static_cast<char32_t>(c), Exception::kUnordered);
}

int combining_class(int32_t c) noexcept {
  return c < 0x300 || is_unordered(c) ? 0 : utf8proc_get_property(c)->combining_class;
}

void order_marks(std::vector<int32_t>& points) {
  for (size_t begin = 0; begin < points.size();) {
    if (combining_class(points[begin]) == 0) {
      ++begin;
      continue;
    }
    size_t end = begin + 1;
    while (end < points.size() && combining_class(points[end]) != 0) ++end;
    std::stable_sort(points.begin() + static_cast<std::ptrdiff_t>(begin),
                     points.begin() + static_cast<std::ptrdiff_t>(end),
                     [](int32_t a, int32_t b) { return combining_class(a) < combining_class(b); });
    begin = end;
  }
}

class Normalizer {
 public:
  explicit Normalizer(NormalForm form)
      : composed_(form == NormalForm::kNfc || form == NormalForm::kNfkc),
        compatibility_(form == NormalForm::kNfkc || form == NormalForm::kNfkd) {}

  // Characters below never change, and nothing before them reaches into them.
  char32_t inert_below() const noexcept { return composed_ && !compatibility_ ? 0x300 : 0x80; }

  void append(std::string& out, std::string_view part) {
    points_.clear();
    for (size_t at = 0; at < part.size();) decompose(next_code_point(part, at));
    order_marks(points_);
    // A mark that is not ordered stands between what is before and after it.
    for (size_t begin = 0; begin < points_.size();) {
      size_t end = begin + 1;
      while (end < points_.size() && !is_unordered(points_[end])) ++end;
      append_composed(out, begin, end);
      begin = end;
    }
  }

 private:
  void append_composed(std::string& out, size_t begin, size_t end) {
    auto length = static_cast<utf8proc_ssize_t>(end - begin);
    int32_t* const points = points_.data() + begin;
    if (composed_) {
      length = utf8proc_normalize_utf32(
          points, length, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    }
    for (utf8proc_ssize_t i = 0; i < length; ++i) {
      append_code_point(out, static_cast<char32_t>(points[i]));
    }
  }
  void decompose(char32_t c) {
    if (c < 0x80 || is_exception(c, Exception::kUndecomposed)) {
      points_.push_back(static_cast<int32_t>(c));
      return;
    }
    const auto options = static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE | UTF8PROC_STABLE |
                                                        (compatibility_ ? UTF8PROC_COMPAT : 0));
    std::array<utf8proc_int32_t, 32> parts;
    int boundary_class = 0;
    const utf8proc_ssize_t n = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(c), parts.data(), static_cast<utf8proc_ssize_t>(parts.size()),
        options, &boundary_class);
    if (n <= 0 || n > static_cast<utf8proc_ssize_t>(parts.size())) {
      points_.push_back(static_cast<int32_t>(c));
      return;
    }
    points_.insert(points_.end(), parts.begin(), parts.begin() + n);
  }

  bool composed_, compatibility_;
  std::vector<int32_t> points_;
};

}  // namespace

bool is_white_space(char32_t c) noexcept {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
         c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_numeric(char32_t c) noexcept {
  if (c < 0x80) return c >= '0' && c <= '9';
  return is_between(category(c), UTF8PROC_CATEGORY_ND, UTF8PROC_CATEGORY_NO) !=
         is_exception(c, Exception::kNumeric);
}

bool is_mark(char32_t c) noexcept {
  return c >= 0x300 && is_between(category(c), UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME) !=
                           is_exception(c, Exception::kMark);
}

bool is_nonspacing_mark(char32_t c) noexcept {
  return c >= 0x300 &&
         (category(c) == UTF8PROC_CATEGORY_MN) != is_exception(c, Exception::kNonspacingMark);
}

bool is_punctuation(char32_t c) noexcept {
  if (c < 0x80) {
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
           (c >= '{' && c <= '~');
  }
  return is_between(category(c), UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO) !=
         is_exception(c, Exception::kPunctuation);
}

bool is_control_or_format(char32_t c) noexcept {
  const utf8proc_category_t value = category(c);
  const bool other = value == UTF8PROC_CATEGORY_CC || value == UTF8PROC_CATEGORY_CF ||
                     value == UTF8PROC_CATEGORY_CO;
  // U+FFFD is taken out beside these, and so is found among them.
  return other != (c != 0xfffd && is_exception(c, Exception::kControl));
}

bool is_word(char32_t c) noexcept {
  if (is_exception(c, Exception::kWord)) return true;
  const utf8proc_category_t value = category(c);
  if (is_between(value, UTF8PROC_CATEGORY_LU, UTF8PROC_CATEGORY_NL)) return true;
  if (value == UTF8PROC_CATEGORY_PC || c == 0x200c || c == 0x200d) return true;
  // Circled and squared letters: symbols with Other_Alphabetic.
  return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
         (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
}

std::string normal_form(std::string_view text, NormalForm form) {
  Normalizer normalizer(form);
  const char32_t inert = normalizer.inert_below();
  std::string out;
  out.reserve(text.size());
  size_t copied = 0;  // up to here is in `out`
  size_t last = 0;    // the last inert character
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    if (next_code_point(text, at) < inert) {
      last = begin;
      continue;
    }
    // From the inert character before, which may combine, to the next inert one.
    const size_t from = std::max(copied, last);
    size_t end = at;
    while (end < text.size()) {
      at = end;
      if (next_code_point(text, at) < inert) break;
      end = at;
    }
    out.append(text.substr(copied, from - copied));
    normalizer.append(out, text.substr(from, end - from));
    copied = last = at = end;
  }
  out.append(text.substr(copied));
  return out;
}

std::string lower_case(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c < 0x80) {
      out.push_back(static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c));
    } else if (c == 0x130) {
      out.append("i\xcc\x87");  // the one character whose lower case is two
    } else {
      const auto lower = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
      append_code_point(out, lower == c ? newer_lower_case(c) : lower);
    }
  }
  return out;
}

size_t grapheme_length(std::string_view text, size_t at) noexcept {
  const size_t begin = at;
  utf8proc_int32_t state = 0;
  auto previous = static_cast<utf8proc_int32_t>(next_code_point(text, at));
  while (at < text.size()) {
    size_t next = at;
    const auto c = static_cast<utf8proc_int32_t>(next_code_point(text, next));
    if (utf8proc_grapheme_break_stateful(previous, c, &state)) break;
    previous = c;
    at = next;
  }
  return at - begin;
}

}  // namespace lockstep::text
