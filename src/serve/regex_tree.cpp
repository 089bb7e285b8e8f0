// Syntax and classes are those of ECMAScript with the u flag (ECMA-262, section "Patterns"), with
// which JSON schema's validators read patterns.
#include "serve/regex_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>

#include "base/text.h"

namespace lockstep::serve {
namespace {

using Kind = RegexNode::Kind;

constexpr int kMaxNesting = 64;
constexpr uint32_t kMaxRepeat = 100'000;

CharSet sorted(CharSet set) {
  std::sort(set.begin(), set.end());
  CharSet out;
  for (const auto& [first, last] : set) {
    if (!out.empty() && first <= out.back().second + 1) {
      out.back().second = std::max(out.back().second, last);
    } else {
      out.emplace_back(first, last);
    }
  }
  return out;
}

// Without surrogates, which no text holds.
CharSet inverse(const CharSet& set) {
  CharSet taken = set;
  taken.emplace_back(kFirstSurrogate, kLastSurrogate);
  CharSet out;
  uint32_t next = 0;
  for (const auto& [first, last] : sorted(std::move(taken))) {
    if (first > next) out.emplace_back(next, first - 1);
    next = last + 1;
  }
  if (next <= kLastChar) out.emplace_back(next, kLastChar);
  return out;
}

const CharSet kDigits{{'0', '9'}};
const CharSet kWords{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CharSet kSpaces{{9, 13},          {' ', ' '},       {0xa0, 0xa0},     {0x1680, 0x1680},
                      {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f},
                      {0x3000, 0x3000}, {0xfeff, 0xfeff}};
const CharSet kLineEnds{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  RegexTree parse() {
    tree_.root = either(0);
    if (at_ < text_.size()) refuse("there is no group to close");
    return std::move(tree_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw SchemaRefused{fmt::format("at byte {}: {}", at_, what)};
  }
  [[noreturn]] void refuse_kind(std::string_view what) const {
    refuse(fmt::format("{} cannot be followed token by token; only regular patterns can", what));
  }

  uint32_t add(RegexNode node) {
    tree_.nodes.push_back(std::move(node));
    return static_cast<uint32_t>(tree_.nodes.size() - 1);
  }
  uint32_t add_set(CharSet set) {
    RegexNode node;
    node.kind = Kind::kSet;
    node.set = std::move(set);
    return add(std::move(node));
  }

  bool more() const { return at_ < text_.size(); }
  char peek() const { return text_[at_]; }
  bool take(std::string_view what) {
    if (!text_.substr(at_).starts_with(what)) return false;
    at_ += what.size();
    return true;
  }

  // The next character whole.
  uint32_t take_char() {
    const auto lead = static_cast<unsigned char>(text_[at_++]);
    if (lead < 0x80) return lead;
    const int n = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    uint32_t c = lead & (0x3fu >> n);
    for (int i = 0; i < n && more(); ++i) {
      c = c << 6 | (static_cast<unsigned char>(text_[at_++]) & 0x3fu);
    }
    return c;
  }

  uint32_t either(int nesting) {
    if (nesting > kMaxNesting)
      refuse(fmt::format("more than {} groups inside each other", kMaxNesting));
    std::vector<uint32_t> ways{sequence(nesting)};
    while (take("|")) ways.push_back(sequence(nesting));
    if (ways.size() == 1) return ways.front();
    RegexNode node;
    node.kind = Kind::kEither;
    node.children = std::move(ways);
    return add(std::move(node));
  }

  uint32_t sequence(int nesting) {
    RegexNode node;
    while (more() && peek() != '|' && peek() != ')') node.children.push_back(term(nesting));
    return node.children.size() == 1 ? node.children.front() : add(std::move(node));
  }

  uint32_t term(int nesting) {
    if (take("^")) return add({.kind = Kind::kStart});
    if (take("$")) return add({.kind = Kind::kEnd});
    return quantified(atom(nesting));
  }

  uint32_t atom(int nesting) {
    if (take("(")) return group(nesting);
    if (take(".")) return add_set(inverse(kLineEnds));
    if (take("[")) return add_set(char_class());
    if (take("\\")) return add_set(escape(false));
    if (std::string_view("*+?{").find(peek()) != std::string_view::npos) {
      refuse(
          fmt::format("nothing stands before {} to be repeated", quote_text(text_.substr(at_, 1))));
    }
    const uint32_t c = take_char();
    return add_set({{c, c}});
  }

  uint32_t group(int nesting) {
    if (take("?")) {
      if (take("=") || take("!")) refuse_kind("a look ahead, (?= or (?!,");
      if (take("<=") || take("<!")) refuse_kind("a look behind, (?<= or (?<!,");
      if (take("<")) {
        while (more() && peek() != '>') ++at_;
        if (!take(">")) refuse("the name of a group has no end");
      } else if (!take(":")) {
        refuse("expected (?: or (?<name>");
      }
    }
    const uint32_t inner = either(nesting + 1);
    if (!take(")")) refuse("a group is not closed");
    return inner;
  }

  std::optional<uint32_t> number() {
    if (!more() || peek() < '0' || peek() > '9') return std::nullopt;
    uint32_t n = 0;
    while (more() && peek() >= '0' && peek() <= '9') {
      n = std::min(n * 10 + static_cast<uint32_t>(text_[at_++] - '0'), kMaxRepeat + 1);
    }
    return n;
  }

  uint32_t quantified(uint32_t inner) {
    RegexNode node;
    node.kind = Kind::kRepeat;
    node.children = {inner};
    if (take("+")) {
      node.min = 1;
    } else if (take("?")) {
      node.max = 1;
    } else if (take("{")) {
      const auto least = number();
      if (!least.has_value()) refuse("expected a number after {");
      node.min = node.max = *least;
      if (take(",")) node.max = number().value_or(RegexNode::kNoMaximum);
      if (!take("}")) refuse("a quantifier is not closed");
      if (node.min > node.max) refuse("a quantifier's numbers are out of order");
      const uint32_t most = node.max == RegexNode::kNoMaximum ? node.min : node.max;
      if (most > kMaxRepeat) refuse(fmt::format("more than {} repetitions", kMaxRepeat));
    } else if (!take("*")) {
      return inner;
    }
    take("?");  // lazy: the same texts
    return add(std::move(node));
  }

  uint32_t hex(size_t n) {
    uint32_t value = 0;
    for (size_t i = 0; i < n; ++i) {
      const char c = more() ? text_[at_++] : ' ';
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) refuse("expected a hexadecimal digit");
      value = value * 16 + static_cast<uint32_t>(digit);
    }
    return value;
  }

  uint32_t unicode_escape() {
    if (take("{")) {
      uint32_t value = 0;
      while (more() && peek() != '}') {
        value = value * 16 + hex(1);
        if (value > kLastChar) refuse("there is no such character");
      }
      if (!take("}")) refuse("\\u{ is not closed");
      return value;
    }
    const uint32_t value = hex(4);
    if (value < kFirstSurrogate || value > kLastSurrogate) return value;
    if (value < 0xdc00 && take("\\u")) {
      const uint32_t low = hex(4);
      if (low >= 0xdc00 && low <= kLastSurrogate) {
        return 0x10000 + ((value - kFirstSurrogate) << 10) + (low - 0xdc00);
      }
    }
    refuse("half a surrogate pair is no character");
  }

  // After a backslash.
  CharSet escape(bool in_class) {
    if (!more()) refuse("a backslash stands at the end");
    const char c = peek();
    const auto of_class = [&](const CharSet& set, char inverted) {
      return c == inverted ? inverse(set) : set;
    };
    if ((c >= '1' && c <= '9') || c == 'k') refuse_kind("a reference back");
    if ((c == 'b' && !in_class) || c == 'B') refuse_kind("a word's border, \\b or \\B,");
    if (c == 'p' || c == 'P') refuse_kind("a class of Unicode, \\p or \\P,");
    const uint32_t value = take_char();
    constexpr std::pair<char, uint32_t> kNames[] = {{'n', '\n'}, {'r', '\r'}, {'t', '\t'},
                                                    {'f', '\f'}, {'v', '\v'}, {'b', '\b'}};
    for (const auto& [name, named] : kNames) {
      if (c == name) return {{named, named}};
    }
    switch (c) {
      case 'd':
      case 'D':
        return of_class(kDigits, 'D');
      case 'w':
      case 'W':
        return of_class(kWords, 'W');
      case 's':
      case 'S':
        return of_class(kSpaces, 'S');
      default:
        break;
    }
    const uint32_t one = escaped_char(c, value);
    return {{one, one}};
  }

  uint32_t escaped_char(char c, uint32_t value) {
    if (c == '0') {
      if (more() && peek() >= '0' && peek() <= '9') refuse("octal escapes are not JSON schema's");
      return 0;
    }
    if (c == 'x') return hex(2);
    if (c == 'u') return unicode_escape();
    if (c == 'c') {
      const char letter = more() ? text_[at_++] : ' ';
      if ((letter | 0x20) < 'a' || (letter | 0x20) > 'z') refuse("expected a letter after \\c");
      return static_cast<uint32_t>(letter) & 0x1fu;
    }
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
      refuse(fmt::format("there is no escape {}", quote_text(std::string("\\") + c)));
    }
    return value;
  }

  CharSet char_class() {
    const bool inverted = take("^");
    CharSet set;
    while (more() && peek() != ']') {
      const CharSet low = class_atom();
      const bool is_range = at_ + 1 < text_.size() && peek() == '-' && text_[at_ + 1] != ']';
      if (!is_range) {
        set.insert(set.end(), low.begin(), low.end());
        continue;
      }
      ++at_;
      const CharSet high = class_atom();
      if (!is_one(low) || !is_one(high)) refuse("a range needs a character at both ends");
      if (low[0].first > high[0].first) refuse("a range's ends are out of order");
      set.emplace_back(low[0].first, high[0].first);
    }
    if (!take("]")) refuse("a class is not closed");
    return inverted ? inverse(set) : inverse(inverse(set));
  }

  CharSet class_atom() {
    if (take("\\")) return escape(true);
    if (!more()) refuse("a class is not closed");
    const uint32_t c = take_char();
    return {{c, c}};
  }

  static bool is_one(const CharSet& set) {
    return set.size() == 1 && set[0].first == set[0].second;
  }

  std::string_view text_;
  size_t at_ = 0;
  RegexTree tree_;
};

}  // namespace

RegexTree parse_regex(std::string_view pattern) { return Parser(pattern).parse(); }

const CharSet& any_char() {
  static const CharSet all = inverse({});
  return all;
}

}  // namespace lockstep::serve
