#include "port/source_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <optional>

namespace lockstep::port {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\f\v";
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) + 1 - begin);
}

// "- item", "* item", "1. item"
bool begins_item(std::string_view line) {
  if (line.starts_with("- ") || line.starts_with("* ")) return true;
  size_t digits = 0;
  while (digits < line.size() && std::isdigit(static_cast<unsigned char>(line[digits]))) ++digits;
  return digits > 0 && digits < 4 && line.substr(digits).starts_with(". ");
}

// "Key NAME: why"
bool begins_key_note(std::string_view line) {
  if (!line.starts_with("Key ")) return false;
  const size_t end = line.find(' ', 4);
  return end != std::string_view::npos && line[end - 1] == ':';
}

bool begins_note(std::string_view line) {
  return line.starts_with("TODO") || begins_key_note(line) ||
         (line.starts_with("Delta ") && line.size() > 6 &&
          std::isdigit(static_cast<unsigned char>(line[6])));
}

// Goes through a source once and sorts every character.
class SourceReader {
 public:
  explicit SourceReader(std::string_view source) : source_(source) { result_.code = source; }

  SourceText read() {
    while (at_ < source_.size()) {
      if (starts("//")) {
        line_comment();
      } else if (starts("/*")) {
        block_comment();
      } else if (const auto delimiter = raw_literal()) {
        skip_raw(*delimiter);
      } else if (source_[at_] == '"' || (source_[at_] == '\'' && !separates_digits())) {
        literal(source_[at_]);
      } else {
        code_character();
      }
    }
    return std::move(result_);
  }

 private:
  bool starts(std::string_view text) const { return source_.substr(at_).starts_with(text); }

  // Blanks [begin, end) in the code, but for line ends.
  void blank(size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      if (result_.code[i] != '\n') result_.code[i] = ' ';
    }
  }

  void end_line() {
    if (!line_has_comment_) paragraph_ = nullptr;
    ++line_;
    line_has_code_ = line_has_comment_ = false;
  }

  void code_character() {
    if (source_[at_] == '\n') {
      end_line();
    } else if (!std::isspace(static_cast<unsigned char>(source_[at_]))) {
      line_has_code_ = true;
      paragraph_ = nullptr;
    }
    ++at_;
  }

  void add(std::string_view text) {
    text = trimmed(text);
    line_has_comment_ = true;
    if (text.empty()) {
      paragraph_ = nullptr;
      return;
    }
    if (paragraph_ == nullptr || begins_item(text) || begins_note(text)) {
      result_.comments.emplace_back();
      paragraph_ = &result_.comments.back();
    }
    paragraph_->add(text, line_);
    // What stands behind code speaks of that line alone.
    if (line_has_code_) paragraph_ = nullptr;
  }

  void line_comment() {
    size_t end = source_.find('\n', at_);
    // A backslash before the line end continues the comment.
    while (end != std::string_view::npos && end > at_ && source_[end - 1] == '\\') {
      end = source_.find('\n', end + 1);
    }
    end = std::min(end, source_.size());
    blank(at_, end);
    std::string_view text = source_.substr(at_, end - at_);
    at_ = end;
    for (size_t newline; (newline = text.find('\n')) != std::string_view::npos;) {
      add(without_signs(text.substr(0, newline)));
      text.remove_prefix(newline + 1);
      end_line();
    }
    add(without_signs(text));
  }

  static std::string_view without_signs(std::string_view line) {
    while (line.starts_with('/')) line.remove_prefix(1);
    if (line.starts_with('!') || line.starts_with('<')) line.remove_prefix(1);
    if (line.starts_with('<')) line.remove_prefix(1);
    if (line.ends_with('\\')) line.remove_suffix(1);
    return line;
  }

  void block_comment() {
    const size_t close = source_.find("*/", at_ + 2);
    const size_t end = close == std::string_view::npos ? source_.size() : close + 2;
    blank(at_, end);
    std::string_view text =
        source_.substr(at_ + 2, (close == std::string_view::npos ? end : close) - at_ - 2);
    at_ = end;
    while (true) {
      const size_t newline = text.find('\n');
      std::string_view line = trimmed(text.substr(0, newline));
      while (line.starts_with('*')) line.remove_prefix(1);
      add(line);
      if (newline == std::string_view::npos) break;
      text.remove_prefix(newline + 1);
      end_line();
    }
  }

  // The delimiter of a raw literal that begins here, quote included in neither.
  std::optional<std::string_view> raw_literal() const {
    if (!starts("R\"")) return {};
    if (at_ > 0) {
      const auto before = static_cast<unsigned char>(source_[at_ - 1]);
      // u8R, uR, UR and LR are raw as well; any other identifier that ends in R is not.
      if ((std::isalnum(before) || before == '_') && before != 'u' && before != 'U' &&
          before != 'L' && before != '8') {
        return {};
      }
    }
    const size_t open = source_.find('(', at_ + 2);
    if (open == std::string_view::npos || open - at_ - 2 > 16) return {};
    return source_.substr(at_ + 2, open - at_ - 2);
  }

  void skip_raw(std::string_view delimiter) {
    const std::string end = fmt::format("){}\"", delimiter);
    const size_t close = source_.find(end, at_);
    const size_t stop = close == std::string_view::npos ? source_.size() : close + end.size();
    while (at_ < stop) code_character();
  }

  bool separates_digits() const {
    return at_ > 0 && at_ + 1 < source_.size() &&
           std::isxdigit(static_cast<unsigned char>(source_[at_ - 1])) &&
           std::isxdigit(static_cast<unsigned char>(source_[at_ + 1]));
  }

  void literal(char quote) {
    code_character();
    while (at_ < source_.size() && source_[at_] != quote && source_[at_] != '\n') {
      if (source_[at_] == '\\' && at_ + 1 < source_.size()) code_character();
      code_character();
    }
    if (at_ < source_.size()) code_character();
  }

  std::string_view source_;
  SourceText result_;
  size_t at_ = 0, line_ = 1;
  bool line_has_code_ = false, line_has_comment_ = false;
  Prose* paragraph_ = nullptr;
};

}  // namespace

size_t Prose::line_at(size_t offset) const {
  size_t line = 0;
  for (const auto& [begin, number] : lines) {
    if (begin > offset) break;
    line = number;
  }
  return line;
}

void Prose::add(std::string_view piece, size_t line) {
  if (!text.empty()) text += ' ';
  lines.emplace_back(text.size(), line);
  text += piece;
}

SourceText read_source(std::string_view source) { return SourceReader(source).read(); }

std::vector<Prose> read_markdown(std::string_view text) {
  std::vector<Prose> paragraphs;
  std::string heading;
  bool is_new = true, in_fence = false, in_section = false, in_comment = false;
  size_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = trimmed(text.substr(begin, end - begin));
    begin = end + 1;
    ++number;
    if (line.starts_with("<!-- lockstep:")) in_section = true;
    const bool closes = line.starts_with("<!-- /lockstep:");
    const bool is_fence = !in_section && (line.starts_with("```") || line.starts_with("~~~"));
    if (is_fence) in_fence = !in_fence;
    if (!in_section && !in_fence && line.starts_with("<!--")) in_comment = true;
    const bool left_out = in_section || in_fence || in_comment || is_fence;
    if (in_comment && line.find("-->") != std::string_view::npos) in_comment = false;
    if (closes) in_section = false;
    if (left_out || line.empty()) {
      is_new = true;
      continue;
    }
    if (line.starts_with('#')) {
      heading = trimmed(line.substr(std::min(line.find_first_not_of('#'), line.size())));
      is_new = true;
    }
    if (is_new || begins_item(line)) paragraphs.push_back({"", {}, heading});
    paragraphs.back().add(line, number);
    is_new = line.starts_with('#');
  }
  return paragraphs;
}

}  // namespace lockstep::port
