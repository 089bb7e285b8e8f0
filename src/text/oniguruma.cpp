// From Oniguruma's default syntax to PCRE2's. What differs: $ and ^ are of lines, \s \w \h \v and
// \p{script} mean other sets, x{n,m}+ is greedy twice instead of possessive, an option without a
// colon reaches to the end of its group across |, and sets nest and intersect.
#include <fmt/format.h>

#include <array>
#include <utility>
#include <vector>

#include "base/text.h"
#include "lockstep/error.h"
#include "text/regex.h"
#include "text/unicode_delta.h"
#include "text/utf8.h"

namespace lockstep::text {
namespace {

constexpr int kMaxDepth = 100;
constexpr std::string_view kSpace =
    R"(\t-\r \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kHexDigit = "0-9a-fA-F";

using Names = std::pair<std::string_view, std::string_view>;
constexpr auto kCategories = std::to_array<Names>({{"letter", "L"},
                                                   {"lowercaseletter", "Ll"},
                                                   {"uppercaseletter", "Lu"},
                                                   {"titlecaseletter", "Lt"},
                                                   {"modifierletter", "Lm"},
                                                   {"otherletter", "Lo"},
                                                   {"mark", "M"},
                                                   {"nonspacingmark", "Mn"},
                                                   {"spacingmark", "Mc"},
                                                   {"enclosingmark", "Me"},
                                                   {"number", "N"},
                                                   {"decimalnumber", "Nd"},
                                                   {"letternumber", "Nl"},
                                                   {"othernumber", "No"},
                                                   {"punctuation", "P"},
                                                   {"connectorpunctuation", "Pc"},
                                                   {"dashpunctuation", "Pd"},
                                                   {"openpunctuation", "Ps"},
                                                   {"closepunctuation", "Pe"},
                                                   {"initialpunctuation", "Pi"},
                                                   {"finalpunctuation", "Pf"},
                                                   {"otherpunctuation", "Po"},
                                                   {"symbol", "S"},
                                                   {"mathsymbol", "Sm"},
                                                   {"currencysymbol", "Sc"},
                                                   {"modifiersymbol", "Sk"},
                                                   {"othersymbol", "So"},
                                                   {"separator", "Z"},
                                                   {"spaceseparator", "Zs"},
                                                   {"lineseparator", "Zl"},
                                                   {"paragraphseparator", "Zp"},
                                                   {"other", "C"},
                                                   {"control", "Cc"},
                                                   {"format", "Cf"},
                                                   {"unassigned", "Cn"},
                                                   {"privateuse", "Co"},
                                                   {"surrogate", "Cs"}});

constexpr std::string_view kShortCategories =
    " L Ll Lu Lt Lm Lo M Mn Mc Me N Nd Nl No P Pc Pd Ps Pe Pi Pf Po S Sm Sc Sk So Z Zs Zl Zp C Cc"
    " Cf Cn Co Cs ";

// A set of characters: what stands in one pair of brackets, and expressions that each match one.
struct Set {
  std::string simple;
  std::vector<std::string> complex;

  std::string regex() const {
    std::vector<std::string> parts = complex;
    if (!simple.empty()) parts.insert(parts.begin(), fmt::format("[{}]", simple));
    if (parts.empty()) return "(?!)";
    return parts.size() == 1 ? parts[0] : fmt::format("(?:{})", fmt::join(parts, "|"));
  }
  std::string negated() const {
    if (complex.empty() && !simple.empty()) return fmt::format("[^{}]", simple);
    return fmt::format("(?:(?!{})(?s:.))", regex());
  }
};

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& place)
      : pattern_(pattern), place_(place) {}

  std::string run() {
    std::string out = alternatives(0);
    if (!at_end()) malformed("a ) that closes nothing");
    return out;
  }

 private:
  [[noreturn]] void refuse(std::string_view construct) const {
    throw Error(ErrorCode::kUnimplemented,
                fmt::format("{}: the pattern {} uses {}, which is not supported", place_,
                            quote_text(pattern_), construct));
  }
  [[noreturn]] void malformed(std::string_view what) const {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: the pattern {} has {} at byte {}",
                                                         place_, quote_text(pattern_), what, at_));
  }

  bool at_end() const { return at_ == pattern_.size(); }
  bool sees(std::string_view text) const { return pattern_.substr(at_).starts_with(text); }
  bool accept(std::string_view text) {
    if (!sees(text)) return false;
    at_ += text.size();
    return true;
  }
  char next(std::string_view what) {
    if (at_end()) malformed(fmt::format("an end where {} is expected", what));
    return pattern_[at_++];
  }

  std::string alternatives(int depth) {
    if (depth > kMaxDepth) refuse(fmt::format("more than {} nested groups", kMaxDepth));
    std::string out;
    while (!at_end() && !sees(")")) {
      if (accept("|")) {
        out += '|';
      } else if (sees("(?") && inline_options(depth, out)) {
        break;
      } else {
        out += quantified(atom(depth));
      }
    }
    return out;
  }

  // (?i) and the like, without a colon: true when it was one, with all that it reaches.
  bool inline_options(int depth, std::string& out) {
    const size_t begin = at_;
    at_ += 2;
    std::string options;
    if (!option_letters(options) || !accept(")")) {
      at_ = begin;
      return false;
    }
    out += fmt::format("(?{}:{})", options, alternatives(depth + 1));
    return true;
  }

  bool option_letters(std::string& options) {
    bool any = false;
    for (; !at_end(); ++at_) {
      const char c = pattern_[at_];
      if (c == '-' || c == 'i') {
        options += c;
      } else if (c == 'm') {
        options += 's';
      } else if (c == 'x' || c == 'W' || c == 'D' || c == 'S' || c == 'P') {
        refuse(fmt::format("the option {}", c));
      } else {
        break;
      }
      any = true;
    }
    return any;
  }

  std::string atom(int depth) {
    const char c = next("an expression");
    switch (c) {
      case '(':
        return group(depth);
      case '[':
        return set(0);
      case '\\':
        return escape();
      case '^':
      case '$':
      case '.':
        return std::string(1, c);
      case '*':
      case '+':
      case '?':
        malformed("a repetition of nothing");
      default:
        --at_;
        return fmt::format("\\x{{{:x}}}", static_cast<uint32_t>(next_code_point(pattern_, at_)));
    }
  }

  std::string group(int depth) {
    std::string open = "(";
    if (accept("?#")) {
      while (next("the end of a comment") != ')') {
      }
      return "(?:)";
    }
    if (accept("?<") && !sees("=") && !sees("!")) {
      open = "(?<";
      for (char c = 0; c != '>';) open += c = next("the end of a name");
    } else if (pattern_[at_ - 1] == '<' && (sees("=") || sees("!"))) {
      open = fmt::format("(?<{}", pattern_[at_++]);
    } else if (accept("?")) {
      std::string options;
      if (option_letters(options)) {
        if (!accept(":")) refuse("this kind of group");
        open = fmt::format("(?{}:", options);
      } else if (sees(":") || sees("=") || sees("!") || sees(">")) {
        open = fmt::format("(?{}", pattern_[at_++]);
      } else {
        refuse(fmt::format("a group that begins with (?{}", pattern_.substr(at_, 1)));
      }
    }
    const std::string inside = alternatives(depth + 1);
    if (!accept(")")) malformed("a ( that is not closed");
    return open + inside + ")";
  }

  std::string quantified(std::string expression) {
    for (bool first = true; !at_end(); first = false) {
      // Each further quantifier repeats what stands so far.
      const std::string repeated = first ? expression : fmt::format("(?:{})", expression);
      const char c = pattern_[at_];
      if (c == '*' || c == '+' || c == '?') {
        ++at_;
        expression = repeated + c;
        if (accept("?")) {
          expression += '?';
        } else if (accept("+")) {
          expression += '+';
        }
      } else if (c != '{' || !interval(repeated, expression)) {
        break;
      }
    }
    return expression;
  }

  bool interval(const std::string& expression, std::string& repeated) {
    const size_t end = pattern_.find('}', at_);
    if (end == pattern_.npos) return false;
    const std::string_view inside = pattern_.substr(at_ + 1, end - at_ - 1);
    const size_t comma = inside.find(',');
    const std::string_view low = inside.substr(0, comma);
    const std::string_view high = comma == inside.npos ? low : inside.substr(comma + 1);
    const auto is_number = [](std::string_view text) {
      return text.find_first_not_of("0123456789") == text.npos;
    };
    if (!is_number(low) || !is_number(high) || (low.empty() && high.empty())) return false;
    at_ = end + 1;
    repeated = comma == inside.npos
                   ? fmt::format("{}{{{}}}", expression, low)
                   : fmt::format("{}{{{},{}}}", expression, low.empty() ? "0" : low, high);
    if (accept("?")) {
      // Of a fixed number of times it is a question, not laziness.
      repeated = comma == inside.npos ? fmt::format("(?:{})?", repeated) : repeated + "?";
    }
    return true;
  }

  // A set that an escape names; nullopt where it names something else. Moves past it.
  bool escaped_set(char c, Set& found) {
    switch (c) {
      case 's':
      case 'S':
        found.simple = kSpace;
        break;
      case 'd':
      case 'D':
        found.simple = property_set("Nd");
        break;
      case 'w':
      case 'W':
        found.simple = word_set();
        break;
      case 'h':
      case 'H':
        found.simple = kHexDigit;
        break;
      case 'p':
      case 'P':
        return named_set(c == 'P', found);
      default:
        return false;
    }
    if (c < 'a') found = {"", {found.negated()}};
    return true;
  }

  std::string property_set(std::string_view category) const {
    return fmt::format("\\p{{{}}}{}", category, newer_characters(category));
  }

  std::string word_set() const {
    // Of the numbers that are no digits those of Latin-1 alone.
    return property_set("Alphabetic") + property_set("M") + property_set("Nd") +
           property_set("Pc") + R"(\x{b2}\x{b3}\x{b9}\x{bc}-\x{be})";
  }

  // After \p or \P: {name} or {^name}.
  bool named_set(bool negated, Set& found) {
    if (!accept("{")) refuse("\\p without braces");
    if (accept("^")) negated = !negated;
    const size_t end = pattern_.find('}', at_);
    if (end == pattern_.npos) malformed("a \\p{ that is not closed");
    found.simple = characters_named(pattern_.substr(at_, end - at_));
    at_ = end + 1;
    if (negated) found = {"", {found.negated()}};
    return true;
  }

  std::string characters_named(std::string_view name) const {
    std::string key;
    for (const char c : name) {
      if (c == ' ' || c == '_' || c == '-') continue;
      key += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    if (key.empty() || key.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789") != key.npos) {
      malformed(fmt::format("a property without a name ({})", quote_text(name)));
    }
    std::string category = key;
    category[0] = static_cast<char>(category[0] - (category[0] >= 'a' ? 32 : 0));
    if (kShortCategories.find(" " + category + " ") != kShortCategories.npos) {
      return property_set(category);
    }
    for (const auto& [long_name, short_name] : kCategories) {
      if (key == long_name) return property_set(short_name);
    }
    if (key == "any") return R"(\x{0}-\x{10ffff})";
    if (key == "alpha" || key == "alphabetic") {
      return property_set("Alphabetic");
    }
    if (key == "alnum") return property_set("Alphabetic") + property_set("Nd");
    if (key == "digit") return property_set("Nd");
    if (key == "upper" || key == "uppercase") return property_set("Uppercase");
    if (key == "lower" || key == "lowercase") return property_set("Lowercase");
    if (key == "space" || key == "whitespace") return std::string(kSpace);
    if (key == "punct") return property_set("P");
    if (key == "word") return word_set();
    if (key == "xdigit") return std::string(kHexDigit);
    if (key == "emoji") return property_set("Emoji");
    if (key == "extendedpictographic") return R"(\p{Extended_Pictographic})";
    for (const std::string_view unknown : {"assigned", "blank", "cntrl", "graph", "print"}) {
      if (key == unknown) refuse(fmt::format("the property {}", name));
    }
    return fmt::format("\\p{{sc:{}}}{}", key, newer_characters(key));
  }

  // The character that an escape stands for, as \x{...}; npos-like 0xffffffff where it is none.
  char32_t escaped_character(char c) {
    switch (c) {
      case 't':
        return '\t';
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 'f':
        return '\f';
      case 'v':
        return '\v';
      case 'a':
        return '\a';
      case 'e':
        return 0x1b;
      case 'x':
        return accept("{") ? hexadecimal(8, true) : hexadecimal(2, false);
      case 'u':
        return hexadecimal(4, false);
      default:
        break;
    }
    const bool alphanumeric =
        (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (alphanumeric) return kNoCharacter;
    --at_;
    return next_code_point(pattern_, at_);
  }

  char32_t hexadecimal(int most, bool braced) {
    char32_t value = 0;
    int digits = 0;
    for (; digits < most && !at_end(); ++digits, ++at_) {
      const char c = pattern_[at_];
      const int lower = c | 0x20;
      if (c >= '0' && c <= '9') {
        value = value * 16 + static_cast<char32_t>(c - '0');
      } else if (lower >= 'a' && lower <= 'f') {
        value = value * 16 + static_cast<char32_t>(lower - 'a' + 10);
      } else {
        break;
      }
    }
    const bool surrogate = value >= 0xd800 && value < 0xe000;
    if (digits == 0 || (braced && !accept("}")) || value > 0x10ffff || surrogate) {
      malformed("a character number that is none");
    }
    return value;
  }

  std::string escape() {
    const char c = next("an escaped character");
    Set found;
    if (escaped_set(c, found)) return found.regex();
    switch (c) {
      case 'b':
      case 'B': {
        const std::string word = fmt::format("[{}]", word_set());
        return c == 'b' ? fmt::format("(?:(?<={0})(?!{0})|(?<!{0})(?={0}))", word)
                        : fmt::format("(?:(?<={0})(?={0})|(?<!{0})(?!{0}))", word);
      }
      case 'A':
      case 'z':
      case 'Z':
        return fmt::format("\\{}", c);
      case 'R':
        return R"((?>\r\n|[\n-\r\x{85}\x{2028}\x{2029}]))";
      case 'N':
        return R"([^\n])";
      case 'O':
        return "(?s:.)";
      default:
        break;
    }
    const char32_t character = escaped_character(c);
    if (character == kNoCharacter) refuse(fmt::format("the escape \\{}", c));
    return fmt::format("\\x{{{:x}}}", static_cast<uint32_t>(character));
  }

  // After [: up to and with the matching ].
  std::string set(int depth) {
    const bool negated = accept("^");
    std::vector<std::string> operands;
    Set current = set_items(depth, operands);
    if (operands.empty()) return negated ? current.negated() : current.regex();
    std::string both;
    for (const std::string& operand : operands) both += fmt::format("(?={})", operand);
    both = fmt::format("(?:{}{})", both, current.regex());
    return negated ? fmt::format("(?:(?!{})(?s:.))", both) : both;
  }

  // The items up to ]; what stands left of each && goes to `operands`.
  Set set_items(int depth, std::vector<std::string>& operands) {
    if (depth > kMaxDepth) refuse(fmt::format("more than {} nested sets", kMaxDepth));
    Set current;
    for (bool first = true;; first = false) {
      if (!first && accept("]")) return current;
      if (accept("&&")) {
        operands.push_back(current.regex());
        current = {};
      } else if (accept("[:")) {
        posix_set(current);
      } else if (accept("[")) {
        nested_set(depth, current);
      } else {
        set_item(current);
      }
    }
  }

  void posix_set(Set& current) {
    const bool negated = accept("^");
    const size_t end = pattern_.find(":]", at_);
    if (end == pattern_.npos) malformed("a [: that is not closed");
    const std::string_view name = pattern_.substr(at_, end - at_);
    Set named{characters_named(name), {}};
    if (name == "punct") named.simple += property_set("S");  // in brackets symbols are among them
    at_ = end + 2;
    if (negated) {
      current.complex.push_back(named.negated());
    } else {
      current.simple += named.simple;
    }
  }

  void nested_set(int depth, Set& current) {
    const size_t begin = at_;
    if (!sees("^")) {
      // Without negation and && it is part of the set around it.
      std::vector<std::string> operands;
      Set inner = set_items(depth + 1, operands);
      if (operands.empty()) {
        current.simple += inner.simple;
        current.complex.insert(current.complex.end(), inner.complex.begin(), inner.complex.end());
        return;
      }
      at_ = begin;
    }
    current.complex.push_back(set(depth + 1));
  }

  void set_item(Set& current) {
    const char c = next("the end of a set");
    Set found;
    if (c == '\\' && at_end()) malformed("a \\ that escapes nothing");
    if (c == '\\' && escaped_set(pattern_[at_++], found)) {
      current.simple += found.simple;
      current.complex.insert(current.complex.end(), found.complex.begin(), found.complex.end());
      return;
    }
    if (c == '\\') --at_;
    const char32_t low = set_character(c);
    char32_t high = low;
    // A - before ], a set or a named set stands for itself.
    if (sees("-") && !sees("-]") && !sees("-[")) {
      const size_t dash = at_++;
      const char after = next("the end of a range");
      if (after == '\\' && !at_end() &&
          std::string_view("sSdDwWhHpP").find(pattern_[at_]) != std::string_view::npos) {
        at_ = dash;
      } else {
        high = set_character(after);
        if (high < low) malformed("an empty range");
      }
    }
    current.simple += fmt::format("\\x{{{:x}}}", static_cast<uint32_t>(low));
    if (high != low) current.simple += fmt::format("-\\x{{{:x}}}", static_cast<uint32_t>(high));
  }

  // The character that `c`, just read, is or begins.
  char32_t set_character(char c) {
    if (c != '\\') {
      --at_;
      return next_code_point(pattern_, at_);
    }
    const char escaped = next("an escaped character");
    if (escaped == 'b') return '\b';
    const char32_t character = escaped_character(escaped);
    if (character == kNoCharacter) refuse(fmt::format("the escape \\{} in a set", escaped));
    return character;
  }

  static constexpr char32_t kNoCharacter = 0xffffffff;
  std::string_view pattern_;
  const std::string& place_;
  size_t at_ = 0;
};

}  // namespace

std::string translate_oniguruma(std::string_view pattern, const std::string& place) {
  return Translator(pattern, place).run();
}

}  // namespace lockstep::text
