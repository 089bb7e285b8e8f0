#include "text/jinja_lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>

#include "text/jinja_unicode.h"

namespace lockstep::jinja {
namespace {

/// As written on any system, with "\n" alone.
std::string with_plain_newlines(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r') {
      out += text[i];
      continue;
    }
    out += '\n';
    if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
  }
  return out;
}

bool is_digit_char(char c) { return c >= '0' && c <= '9'; }

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<Token> run() {
    while (pos_ < source_.size()) read_data();
    add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  bool at(std::string_view text, size_t pos) const {
    return source_.compare(pos, text.size(), text) == 0;
  }
  bool here(std::string_view text) const { return at(text, pos_); }
  void skip(size_t n) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<ptrdiff_t>(pos_),
                                         source_.begin() + static_cast<ptrdiff_t>(pos_ + n), '\n'));
    pos_ += n;
  }
  /// Where the white space that starts at `pos` ends.
  size_t after_space(size_t pos) const {
    while (pos < source_.size()) {
      size_t next = pos;
      if (!is_space(next_code_point(source_, next))) break;
      pos = next;
    }
    return pos;
  }
  [[noreturn]] void fail_here(std::string message) const {
    throw SyntaxFailure{line_, std::move(message)};
  }
  void add(TokenKind kind, std::string text) {
    tokens_.push_back({kind, line_, std::move(text), Value()});
  }

  /// Text up to the next tag, and that tag.
  void read_data() {
    size_t begin = pos_;
    while ((begin = source_.find('{', begin)) != source_.npos) {
      const char c = begin + 1 < source_.size() ? source_[begin + 1] : '\0';
      if (c == '{' || c == '%' || c == '#') break;
      ++begin;
    }
    if (begin == source_.npos) {
      add(TokenKind::kData, source_.substr(pos_));
      skip(source_.size() - pos_);
      return;
    }
    const char kind = source_[begin + 1];
    const char sign = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
    add_data(begin, sign, kind == '{');
    if (kind == '%' && read_raw()) return;
    skip(sign == '-' || sign == '+' ? 3 : 2);
    line_starts_ = false;
    if (kind == '#') {
      read_comment();
    } else {
      read_tag(kind == '{');
    }
  }

  /// The data from here to `end`, without the white space that the tag there takes away.
  void add_data(size_t end, char sign, bool is_variable) {
    std::string_view text = std::string_view(source_).substr(pos_, end - pos_);
    if (sign == '-') {
      text = strip_space(text, Side::kRight);
    } else if (sign != '+' && !is_variable) {
      const size_t newline = text.rfind('\n');
      const size_t start = newline == text.npos ? 0 : newline + 1;
      if ((start > 0 || line_starts_) && strip_space(text.substr(start), Side::kLeft).empty()) {
        text = text.substr(0, start);
      }
    }
    if (!text.empty()) add(TokenKind::kData, std::string(text));
    skip(end - pos_);
  }

  /// The end of a block tag, `-%}`, `+%}` or `%}`, and what it takes of the white space after it.
  bool read_close(std::string_view close, bool trims_newline, bool takes_plus) {
    if (here("-") && at(close, pos_ + 1)) {
      skip(after_space(pos_ + 1 + close.size()) - pos_);
    } else if (takes_plus && here("+") && at(close, pos_ + 1)) {
      skip(1 + close.size());
    } else if (here(close)) {
      skip(close.size());
      if (trims_newline && here("\n")) skip(1);
    } else {
      return false;
    }
    line_starts_ = source_[pos_ - 1] == '\n';
    return true;
  }

  void read_comment() {
    for (size_t end = pos_; (end = source_.find("#}", end)) != source_.npos;) {
      // The sign belongs to the end of the comment where there is one.
      const char before = end > pos_ ? source_[end - 1] : '\0';
      skip((before == '-' || before == '+' ? end - 1 : end) - pos_);
      read_close("#}", true, true);
      return;
    }
    fail_here("Missing end of comment tag");
  }

  /// `{% raw %}` up to its end, when that is what stands here.
  bool read_raw() {
    size_t pos = pos_ + 2;
    if (pos < source_.size() && (source_[pos] == '-' || source_[pos] == '+')) ++pos;
    pos = after_space(pos);
    if (!at("raw", pos)) return false;
    pos = after_space(pos + 3);
    if (at("-%}", pos)) {
      pos = after_space(pos + 3);
    } else if (at("%}", pos)) {
      pos += 2;
    } else {
      return false;
    }
    skip(pos - pos_);
    line_starts_ = source_[pos_ - 1] == '\n';
    for (size_t begin = pos_; (begin = source_.find("{%", begin)) != source_.npos; ++begin) {
      const char sign = begin + 2 < source_.size() ? source_[begin + 2] : '\0';
      size_t end = after_space(begin + (sign == '-' || sign == '+' ? 3 : 2));
      if (!at("endraw", end)) continue;
      end = after_space(end + 6);
      if (!at("%}", end) && !at("-%}", end) && !at("+%}", end)) continue;
      add_data(begin, sign, false);
      skip(end - pos_);
      read_close("%}", true, true);
      return true;
    }
    fail_here("Missing end of raw directive");
  }

  void read_tag(bool is_variable) {
    add(is_variable ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, "");
    std::vector<char> open;
    while (pos_ < source_.size()) {
      const int line = line_;
      if (open.empty() &&
          (is_variable ? read_close("}}", false, false) : read_close("%}", true, true))) {
        tokens_.push_back(
            {is_variable ? TokenKind::kVariableEnd : TokenKind::kBlockEnd, line, "", Value()});
        return;
      }
      const size_t next = after_space(pos_);
      if (next != pos_) {
        skip(next - pos_);
        continue;
      }
      if (!read_number() && !read_name() && !read_string()) read_operator(open);
    }
  }

  /// Digits that single underscores may part, of the given base; the position behind them.
  size_t after_digits(size_t pos, int base, bool may_start_with_underscore) const {
    const auto is_digit_of = [base](char c) {
      const int value = is_digit_char(c)       ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : 99;
      return value < base;
    };
    const size_t start = pos;
    while (pos < source_.size()) {
      if (is_digit_of(source_[pos])) {
        ++pos;
      } else if (source_[pos] == '_' && (pos > start || may_start_with_underscore) &&
                 pos + 1 < source_.size() && is_digit_of(source_[pos + 1])) {
        pos += 2;
      } else {
        break;
      }
    }
    return pos;
  }

  bool read_number() {
    if (!is_digit_char(source_[pos_])) return false;
    return read_float() || read_integer();
  }

  bool read_float() {
    if (pos_ > 0 && source_[pos_ - 1] == '.') return false;
    size_t end = after_digits(pos_, 10, false);
    bool is_float = false;
    if (end + 1 < source_.size() && source_[end] == '.' && is_digit_char(source_[end + 1])) {
      end = after_digits(end + 1, 10, false);
      is_float = true;
    }
    if (end < source_.size() && (source_[end] == 'e' || source_[end] == 'E')) {
      size_t digits = end + 1;
      if (digits < source_.size() && (source_[digits] == '+' || source_[digits] == '-')) ++digits;
      if (digits < source_.size() && is_digit_char(source_[digits])) {
        end = after_digits(digits, 10, false);
        is_float = true;
      }
    }
    if (!is_float) return false;
    add_number(end, Value::real(std::strtod(digits_to(pos_, end).c_str(), nullptr)));
    return true;
  }

  bool read_integer() {
    int base = 10;
    size_t digits = pos_, end = pos_;
    if (source_[pos_] == '0' && pos_ + 1 < source_.size()) {
      const char c = static_cast<char>(source_[pos_ + 1] | 0x20);
      base = c == 'b' ? 2 : c == 'o' ? 8 : c == 'x' ? 16 : 10;
      if (base != 10) end = after_digits(digits = pos_ + 2, base, true);
      if (end <= pos_ + 2) base = 10;
    }
    if (base == 10) {
      digits = pos_;
      end = after_digits(pos_, 10, false);
      // A number that starts with 0 is nothing but zeros.
      if (source_[pos_] == '0') end = after_digits(pos_, 1, false);
    }
    Int value = 0;
    try {
      for (const char c : digits_to(digits, end)) {
        const int digit = is_digit_char(c) ? c - '0' : (c | 0x20) - 'a' + 10;
        value = checked_add(checked_multiply(value, base), digit);
      }
    } catch (const Failure& failure) {
      fail_here(failure.message);
    }
    add_number(end, Value::integer(value));
    return true;
  }

  std::string digits_to(size_t begin, size_t end) const {
    std::string digits = source_.substr(begin, end - begin);
    std::erase(digits, '_');
    return digits;
  }

  void add_number(size_t end, Value value) {
    tokens_.push_back(
        {TokenKind::kNumber, line_, source_.substr(pos_, end - pos_), std::move(value)});
    pos_ = end;
  }

  bool read_name() {
    size_t end = pos_;
    while (end < source_.size()) {
      size_t next = end;
      const char32_t c = next_code_point(source_, next);
      if (!(end == pos_ ? is_identifier_start(c) : is_identifier_part(c))) break;
      end = next;
    }
    if (end == pos_) return false;
    add(TokenKind::kName, source_.substr(pos_, end - pos_));
    pos_ = end;
    return true;
  }

  bool read_string() {
    const char quote = source_[pos_];
    if (quote != '\'' && quote != '"') return false;
    size_t end = pos_ + 1;
    while (end < source_.size() && source_[end] != quote) end += source_[end] == '\\' ? 2 : 1;
    if (end >= source_.size()) return false;
    add(TokenKind::kString, unescape(std::string_view(source_).substr(pos_ + 1, end - pos_ - 1)));
    skip(end + 1 - pos_);
    return true;
  }

  /// Python's unicode-escape. Characters outside of ASCII are escaped first, as Jinja does, so
  /// that a backslash before one stays, and so does the escape's text.
  std::string unescape(std::string_view raw) const {
    std::string text;
    for (size_t pos = 0; pos < raw.size();) {
      const auto c = static_cast<uint32_t>(next_code_point(raw, pos));
      if (c < 0x80) {
        text += static_cast<char>(c);
      } else {
        text += c < 0x100     ? fmt::format("\\x{:02x}", c)
                : c < 0x10000 ? fmt::format("\\u{:04x}", c)
                              : fmt::format("\\U{:08x}", c);
      }
    }
    std::string out;
    for (size_t pos = 0; pos < text.size();) {
      if (text[pos] != '\\') {
        out += text[pos++];
      } else {
        pos = append_escape(out, text, pos + 1);
      }
    }
    return out;
  }

  size_t append_escape(std::string& out, const std::string& text, size_t pos) const {
    if (pos >= text.size()) fail_here("\\ at end of string");
    static constexpr std::string_view kLetters = "abfnrtv\\'\"", kMeant = "\a\b\f\n\r\t\v\\'\"";
    const char c = text[pos++];
    if (c == '\n') return pos;
    if (const size_t i = kLetters.find(c); i != kLetters.npos) {
      out += kMeant[i];
      return pos;
    }
    if (c >= '0' && c <= '7') {
      char32_t value = static_cast<char32_t>(c - '0');
      for (int i = 0; i < 2 && pos < text.size() && text[pos] >= '0' && text[pos] <= '7'; ++i) {
        value = value * 8 + static_cast<char32_t>(text[pos++] - '0');
      }
      append_utf8(out, value);
      return pos;
    }
    const size_t n = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (n == 0) {
      if (c == 'N') fail_here("characters by name, \\N{...}, are not supported");
      out += '\\';
      out += c;
      return pos;
    }
    const std::string digits = text.substr(pos, n);
    if (digits.size() != n || digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos) {
      fail_here(fmt::format("truncated \\{} escape", c));
    }
    const auto value = static_cast<uint32_t>(std::stoul(digits, nullptr, 16));
    if (value > 0x10ffff) fail_here("illegal Unicode character");
    append_utf8(out, value);
    return pos + n;
  }

  void read_operator(std::vector<char>& open) {
    static constexpr std::array<std::string_view, 6> kDouble = {"//", "**", "==", "!=", ">=", "<="};
    static constexpr std::string_view kSingle = "+-/*%~[](){}><=.:|,;";
    for (const std::string_view op : kDouble) {
      if (!here(op)) continue;
      add(TokenKind::kOperator, std::string(op));
      pos_ += 2;
      return;
    }
    const char c = source_[pos_];
    if (kSingle.find(c) == kSingle.npos) {
      size_t next = pos_;
      next_code_point(source_, next);
      fail_here(fmt::format("unexpected char {} at {}",
                            repr_string(std::string_view(source_).substr(pos_, next - pos_)),
                            pos_));
    }
    if (c == '(' || c == '[' || c == '{') {
      open.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    } else if (c == ')' || c == ']' || c == '}') {
      if (open.empty()) fail_here(fmt::format("unexpected '{}'", c));
      if (open.back() != c)
        fail_here(fmt::format("unexpected '{}', expected '{}'", c, open.back()));
      open.pop_back();
    }
    add(TokenKind::kOperator, std::string(1, c));
    ++pos_;
  }

  std::string source_;
  size_t pos_ = 0;
  int line_ = 1;
  /// Whether what was read last ended a line, or nothing was read yet.
  bool line_starts_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) {
  std::string text = with_plain_newlines(source);
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return Lexer(std::move(text)).run();
}

std::string describe(const Token& token) {
  switch (token.kind) {
    case TokenKind::kData:
      return "template data / text";
    case TokenKind::kVariableBegin:
      return "begin of print statement";
    case TokenKind::kVariableEnd:
      return "end of print statement";
    case TokenKind::kBlockBegin:
      return "begin of statement block";
    case TokenKind::kBlockEnd:
      return "end of statement block";
    case TokenKind::kEnd:
      return "end of template";
    default:
      return token.text;
  }
}

}  // namespace lockstep::jinja
