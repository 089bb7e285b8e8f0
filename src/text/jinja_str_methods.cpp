// The methods of str. Those of Markup give Markup.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "text/jinja_call.h"
#include "text/jinja_format.h"
#include "text/jinja_ops.h"
#include "text/jinja_unicode.h"

namespace lockstep::jinja {
namespace {

using Text = std::u32string;

Value like(const Value& self, std::string text) {
  check_string_size(text.size());
  return self.is_markup() ? Value::markup(std::move(text)) : Value::string(std::move(text));
}

Value like(const Value& self, std::u32string_view text) { return like(self, encode(text)); }

Text decoded(const Value& value) {
  check_string_size(value.text().size() * sizeof(char32_t) / 2);
  return decode(value.text());
}

/// [start, end) of a method's optional bounds, as slices have them; false when start is behind.
bool bounds(const Parameters& p, size_t first, Int size, Int& start, Int& end) {
  const auto bound = [&](size_t i, Int otherwise) {
    if (p.is_none(i)) return otherwise;
    Int value = p.int_of(i, otherwise);
    if (value < 0) value = std::max<Int>(value + size, 0);
    return value;
  };
  start = bound(first, 0);
  end = std::min(bound(first + 1, size), size);
  return start <= end;
}

/// The part of a method's text that its bounds mean, by its first character; false when they cross.
bool bounded(const Parameters& p, const Value& self, Int& start, std::string_view& within) {
  check_string_size(self.text().size());
  Int end = 0;
  if (!bounds(p, 1, static_cast<Int>(self.str().length), start, end)) return false;
  const std::string_view text = self.text();
  if (start == 0 && end == static_cast<Int>(self.str().length)) {
    within = text;
    return true;
  }
  const std::string_view rest = text.substr(byte_offset(text, static_cast<size_t>(start)));
  within = rest.substr(0, byte_offset(rest, static_cast<size_t>(end - start)));
  return true;
}

/// Index of the first or last `part` in the bounds, -1 when there is none.
Int find_in(const char* name, const Value& self, const Arguments& arguments, bool from_right) {
  const Parameters p(name, arguments, {"", "", ""}, 1);
  const std::string& part = p.text_of(0);
  Int start = 0;
  std::string_view within;
  if (!bounded(p, self, start, within)) return -1;
  const size_t at = from_right ? find_last_text(within, part) : find_text(within, part);
  if (at == within.npos) return -1;
  return start + static_cast<Int>(count_code_points(within.substr(0, at)));
}

Value index_in(const char* name, const Value& self, const Arguments& arguments, bool from_right) {
  const Int at = find_in(name, self, arguments, from_right);
  if (at < 0) fail("ValueError", "substring not found");
  return Value::integer(at);
}

Value count(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("count", arguments, {"", "", ""}, 1);
  const std::string& part = p.text_of(0);
  Int start = 0, n = 0;
  std::string_view within;
  if (!bounded(p, self, start, within)) return Value::integer(0);
  if (part.empty()) return Value::integer(static_cast<Int>(count_code_points(within)) + 1);
  for (size_t at = 0; (at = find_text(within, part)) != within.npos; ++n) {
    within.remove_prefix(at + part.size());
  }
  return Value::integer(n);
}

bool has_affix(const char* name, const Value& self, const Arguments& arguments, bool at_end) {
  const Parameters p(name, arguments, {"", "", ""}, 1);
  std::vector<Value> parts{p[0]};
  if (p[0].is(Kind::kTuple)) parts = p[0].items();
  Int start = 0;
  std::string_view within;
  const bool in_bounds = bounded(p, self, start, within);
  for (const Value& part : parts) {
    if (!part.is(Kind::kStr)) {
      fail("TypeError", fmt::format("{} first arg must be str or a tuple of str, not {}", name,
                                    type_name(part)));
    }
    if (!in_bounds) continue;
    if (at_end ? within.ends_with(part.text()) : within.starts_with(part.text())) return true;
  }
  return false;
}

Value strip(const char* name, const Value& self, const Arguments& arguments, Side side) {
  const Parameters p(name, arguments, {""}, 0);
  check_string_size(self.text().size());
  if (p.is_none(0)) return like(self, std::string(strip_space(self.text(), side)));
  const Text text = decoded(self), characters = decode(p.text_of(0));
  size_t begin = 0, end = text.size();
  const auto is_in = [&](char32_t c) { return characters.find(c) != characters.npos; };
  while (side != Side::kRight && begin < end && is_in(text[begin])) ++begin;
  while (side != Side::kLeft && end > begin && is_in(text[end - 1])) --end;
  return like(self, std::u32string_view(text).substr(begin, end - begin));
}

/// Where the last white space of `text` ends; 0 where it has none.
size_t after_last_space(std::string_view text) {
  for (size_t end = text.size(); end > 0;) {
    size_t begin = end - 1;
    while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xc0u) == 0x80u) --begin;
    size_t next = begin;
    if (is_space(next_code_point(text, next))) return end;
    end = begin;
  }
  return 0;
}

size_t first_space(std::string_view text) {
  for (size_t pos = 0; pos < text.size();) {
    const size_t at = pos;
    if (is_space(next_code_point(text, pos))) return at;
  }
  return text.size();
}

void split_space(std::string_view text, Int limit, bool from_right,
                 std::vector<std::string_view>& parts) {
  for (;;) {
    text = strip_space(text, from_right ? Side::kRight : Side::kLeft);
    if (text.empty()) return;
    if (limit >= 0 && static_cast<Int>(parts.size()) >= limit) {
      parts.push_back(text);
      return;
    }
    const size_t cut = from_right ? after_last_space(text) : first_space(text);
    parts.push_back(from_right ? text.substr(cut) : text.substr(0, cut));
    text = from_right ? text.substr(0, cut) : text.substr(cut);
  }
}

void split_at(std::string_view text, std::string_view separator, Int limit, bool from_right,
              std::vector<std::string_view>& parts) {
  while (limit < 0 || static_cast<Int>(parts.size()) < limit) {
    const size_t at = from_right ? find_last_text(text, separator) : find_text(text, separator);
    if (at == text.npos) break;
    if (from_right) {
      parts.push_back(text.substr(at + separator.size()));
      text = text.substr(0, at);
    } else {
      parts.push_back(text.substr(0, at));
      text = text.substr(at + separator.size());
    }
  }
  parts.push_back(text);
}

Value split(const char* name, const Value& self, const Arguments& arguments, bool from_right) {
  const Parameters p(name, arguments, {"sep", "maxsplit"}, 0);
  const Int limit = p.int_of(1, -1);
  check_string_size(self.text().size());
  std::vector<std::string_view> parts;
  if (p.is_none(0)) {
    split_space(self.text(), limit, from_right, parts);
  } else {
    if (p.text_of(0).empty()) fail("ValueError", "empty separator");
    split_at(self.text(), p.text_of(0), limit, from_right, parts);
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  check_list_size(parts.size());
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string_view part : parts) items.push_back(like(self, std::string(part)));
  return Value::list(std::move(items));
}

Value split_lines(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("splitlines", arguments, {"keepends"}, 0);
  std::vector<Value> items;
  for (const std::string_view line : jinja::split_lines(self.text(), p.truth_of(0, false))) {
    items.push_back(like(self, std::string(line)));
  }
  check_list_size(items.size());
  return Value::list(std::move(items));
}

Value partition(const char* name, const Value& self, const Arguments& arguments, bool from_right) {
  const Parameters p(name, arguments, {""}, 1);
  const std::string &text = self.text(), &separator = p.text_of(0);
  if (separator.empty()) fail("ValueError", "empty separator");
  const size_t at = from_right ? find_last_text(text, separator) : find_text(text, separator);
  if (at == text.npos) {
    const Value none = like(self, std::string());
    return from_right ? Value::tuple({none, none, self}) : Value::tuple({self, none, none});
  }
  return Value::tuple({like(self, text.substr(0, at)), like(self, separator),
                       like(self, text.substr(at + separator.size()))});
}

Value join(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("join", arguments, {""}, 1);
  std::string out;
  size_t n = 0;
  for (const Value& item : collect(p[0])) {
    if (n > 0) grow(out, self.text());
    if (self.is_markup()) {
      grow(out, escape(item).text());
    } else if (item.is(Kind::kStr)) {
      grow(out, item.text());
    } else {
      fail("TypeError",
           fmt::format("sequence item {}: expected str instance, {} found", n, type_name(item)));
    }
    ++n;
  }
  return like(self, std::move(out));
}

Value replace(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("replace", arguments, {"", "", "count"}, 2);
  const std::string& old = p.text_of(0);
  const std::string fresh =
      self.is_markup() && !p[1].is_markup() ? escape_html(p.text_of(1)) : p.text_of(1);
  Int left = p.int_of(2, -1);
  const std::string& text = self.text();
  std::string out;
  size_t pos = 0;
  if (old.empty()) {
    // Before every character, and at the end.
    while (left != 0) {
      grow(out, fresh);
      --left;
      if (pos == text.size()) break;
      const size_t at = pos;
      next_code_point(text, pos);
      out.append(text, at, pos - at);
    }
  } else {
    const std::string_view all = text;
    for (size_t at = 0; left != 0 && (at = find_text(all.substr(pos), old)) != all.npos; --left) {
      grow(out, all.substr(pos, at));
      grow(out, fresh);
      pos += at + old.size();
    }
  }
  grow(out, std::string_view(text).substr(pos));
  return like(self, std::move(out));
}

Value pad(const char* name, const Value& self, const Arguments& arguments, Side side) {
  const Parameters p(name, arguments, {"", ""}, 1);
  const std::string fill = p.has(1) ? p.text_of(1) : " ";
  if (count_code_points(fill) != 1) {
    fail("TypeError", "The fill character must be exactly one character long");
  }
  const Int length = static_cast<Int>(self.str().length);
  const Int missing = p.int_of(0, 0) - length;
  if (missing <= 0) return self;
  check_string_size(static_cast<uint64_t>(std::min<Int>(missing, UINT32_MAX)) * fill.size());
  Int left = side == Side::kLeft ? missing : 0;
  // As CPython: the odd one goes to the left where the width is odd as well.
  if (side == Side::kBoth) left = missing / 2 + (missing & (length + missing) & 1);
  std::string out;
  for (Int i = 0; i < left; ++i) out += fill;
  out += self.text();
  for (Int i = left; i < missing; ++i) out += fill;
  return like(self, std::move(out));
}

Value zero_fill(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("zfill", arguments, {""}, 1);
  const Int missing = p.int_of(0, 0) - static_cast<Int>(self.str().length);
  if (missing <= 0) return self;
  check_string_size(static_cast<uint64_t>(std::min<Int>(missing, UINT32_MAX)));
  const std::string& text = self.text();
  const size_t sign = !text.empty() && (text[0] == '+' || text[0] == '-') ? 1 : 0;
  return like(self, text.substr(0, sign) + std::string(static_cast<size_t>(missing), '0') +
                        text.substr(sign));
}

Value expand_tabs(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("expandtabs", arguments, {"tabsize"}, 0);
  const Int size = p.int_of(0, 8);
  std::string out;
  Int column = 0;
  const std::string& text = self.text();
  for (size_t pos = 0; pos < text.size();) {
    const size_t at = pos;
    const char32_t c = next_code_point(text, pos);
    if (c == '\t') {
      if (size <= 0) continue;
      const Int n = size - column % size;
      check_string_size(out.size() + static_cast<uint64_t>(std::min<Int>(n, UINT32_MAX)));
      out.append(static_cast<size_t>(n), ' ');
      column += n;
    } else {
      out.append(text, at, pos - at);
      column = c == '\n' || c == '\r' ? 0 : column + 1;
    }
  }
  return like(self, std::move(out));
}

Value remove_affix(const char* name, const Value& self, const Arguments& arguments, bool at_end) {
  const Parameters p(name, arguments, {""}, 1);
  const std::string &text = self.text(), &affix = p.text_of(0);
  if (at_end ? !text.ends_with(affix) : !text.starts_with(affix)) return self;
  return like(self,
              at_end ? text.substr(0, text.size() - affix.size()) : text.substr(affix.size()));
}

/// A method without arguments that gives the text in another case.
Value recased(const char* name, const Value& self, const Arguments& arguments,
              Text (*change)(std::u32string_view)) {
  const Parameters p(name, arguments, {}, 0);
  return like(self, change(decoded(self)));
}

/// Whether the text is not empty and all of it is of a kind.
Value all_of(const char* name, const Value& self, const Arguments& arguments,
             bool (*is_kind)(char32_t) noexcept) {
  const Parameters p(name, arguments, {}, 0);
  const Text text = decoded(self);
  return Value::boolean(!text.empty() && std::all_of(text.begin(), text.end(), is_kind));
}

/// Whether some characters have case, and all of those have this one.
Value has_case(const char* name, const Value& self, const Arguments& arguments,
               bool (*is_right)(char32_t) noexcept, bool (*is_wrong)(char32_t) noexcept) {
  const Parameters p(name, arguments, {}, 0);
  const Text text = decoded(self);
  const bool none_wrong = std::none_of(
      text.begin(), text.end(), [is_wrong](char32_t c) { return is_wrong(c) || is_title(c); });
  return Value::boolean(none_wrong && std::any_of(text.begin(), text.end(), is_right));
}

Value is_titled(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("istitle", arguments, {}, 0);
  bool inside = false, has_cased = false;
  for (const char32_t c : decoded(self)) {
    const bool starts = is_upper(c) || is_title(c);
    if (starts && inside) return Value::boolean(false);
    if (is_lower(c) && !inside) return Value::boolean(false);
    inside = starts || is_lower(c);
    has_cased = has_cased || inside;
  }
  return Value::boolean(has_cased);
}

Value is_ascii(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("isascii", arguments, {}, 0);
  return Value::boolean(self.str().is_ascii());
}

Value is_printable_text(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("isprintable", arguments, {}, 0);
  const Text text = decoded(self);
  return Value::boolean(std::all_of(text.begin(), text.end(), is_printable));
}

Value is_identifier(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("isidentifier", arguments, {}, 0);
  const Text text = decoded(self);
  return Value::boolean(!text.empty() && is_identifier_start(text[0]) &&
                        std::all_of(text.begin(), text.end(), is_identifier_part));
}

Value format(Interpreter&, const Value& self, const Arguments& arguments) {
  return format_braces(self, arguments);
}

Value format_map(Interpreter&, const Value& self, const Arguments& arguments) {
  const Parameters p("format_map", arguments, {""}, 1);
  if (!p[0].is(Kind::kDict)) fail("TypeError", "format_map() argument must be a mapping");
  Arguments named;
  for (const auto& [key, value] : p[0].dict().items()) {
    if (key.is(Kind::kStr)) named.named.emplace_back(key.text(), value);
  }
  return format_braces(self, named);
}

Value unsupported(Interpreter&, const Value&, const Arguments&) {
  fail("NotImplementedError", "this method of str is not supported in templates");
}

constexpr auto kMethods = std::to_array<Method>({
    {"capitalize", [](Interpreter&, const Value& s,
                      const Arguments& a) { return recased("capitalize", s, a, capitalize); }},
    {"casefold", [](Interpreter&, const Value& s,
                    const Arguments& a) { return recased("casefold", s, a, casefold); }},
    {"center", [](Interpreter&, const Value& s,
                  const Arguments& a) { return pad("center", s, a, Side::kBoth); }},
    {"count", count},
    {"encode", unsupported},
    {"endswith",
     [](Interpreter&, const Value& s, const Arguments& a) {
       return Value::boolean(has_affix("endswith", s, a, true));
     }},
    {"expandtabs", expand_tabs},
    {"find", [](Interpreter&, const Value& s,
                const Arguments& a) { return Value::integer(find_in("find", s, a, false)); }},
    {"format", format},
    {"format_map", format_map},
    {"index", [](Interpreter&, const Value& s,
                 const Arguments& a) { return index_in("index", s, a, false); }},
    {"isalnum", [](Interpreter&, const Value& s,
                   const Arguments& a) { return all_of("isalnum", s, a, is_alnum); }},
    {"isalpha", [](Interpreter&, const Value& s,
                   const Arguments& a) { return all_of("isalpha", s, a, is_alpha); }},
    {"isascii", is_ascii},
    {"isdecimal", [](Interpreter&, const Value& s,
                     const Arguments& a) { return all_of("isdecimal", s, a, is_decimal); }},
    {"isdigit", [](Interpreter&, const Value& s,
                   const Arguments& a) { return all_of("isdigit", s, a, is_digit); }},
    {"isidentifier", is_identifier},
    {"islower", [](Interpreter&, const Value& s,
                   const Arguments& a) { return has_case("islower", s, a, is_lower, is_upper); }},
    {"isnumeric", [](Interpreter&, const Value& s,
                     const Arguments& a) { return all_of("isnumeric", s, a, is_numeric); }},
    {"isprintable", is_printable_text},
    {"isspace", [](Interpreter&, const Value& s,
                   const Arguments& a) { return all_of("isspace", s, a, is_space); }},
    {"istitle", is_titled},
    {"isupper", [](Interpreter&, const Value& s,
                   const Arguments& a) { return has_case("isupper", s, a, is_upper, is_lower); }},
    {"join", join},
    {"ljust", [](Interpreter&, const Value& s,
                 const Arguments& a) { return pad("ljust", s, a, Side::kRight); }},
    {"lower", [](Interpreter&, const Value& s,
                 const Arguments& a) { return recased("lower", s, a, to_lower); }},
    {"lstrip", [](Interpreter&, const Value& s,
                  const Arguments& a) { return strip("lstrip", s, a, Side::kLeft); }},
    {"maketrans", unsupported},
    {"partition", [](Interpreter&, const Value& s,
                     const Arguments& a) { return partition("partition", s, a, false); }},
    {"removeprefix", [](Interpreter&, const Value& s,
                        const Arguments& a) { return remove_affix("removeprefix", s, a, false); }},
    {"removesuffix", [](Interpreter&, const Value& s,
                        const Arguments& a) { return remove_affix("removesuffix", s, a, true); }},
    {"replace", replace},
    {"rfind", [](Interpreter&, const Value& s,
                 const Arguments& a) { return Value::integer(find_in("rfind", s, a, true)); }},
    {"rindex", [](Interpreter&, const Value& s,
                  const Arguments& a) { return index_in("rindex", s, a, true); }},
    {"rjust", [](Interpreter&, const Value& s,
                 const Arguments& a) { return pad("rjust", s, a, Side::kLeft); }},
    {"rpartition", [](Interpreter&, const Value& s,
                      const Arguments& a) { return partition("rpartition", s, a, true); }},
    {"rsplit",
     [](Interpreter&, const Value& s, const Arguments& a) { return split("rsplit", s, a, true); }},
    {"rstrip", [](Interpreter&, const Value& s,
                  const Arguments& a) { return strip("rstrip", s, a, Side::kRight); }},
    {"split",
     [](Interpreter&, const Value& s, const Arguments& a) { return split("split", s, a, false); }},
    {"splitlines", split_lines},
    {"startswith",
     [](Interpreter&, const Value& s,
        const Arguments& a) { return Value::boolean(has_affix("startswith", s, a, false)); }},
    {"strip", [](Interpreter&, const Value& s,
                 const Arguments& a) { return strip("strip", s, a, Side::kBoth); }},
    {"swapcase", [](Interpreter&, const Value& s,
                    const Arguments& a) { return recased("swapcase", s, a, swapcase); }},
    {"title", [](Interpreter&, const Value& s,
                 const Arguments& a) { return recased("title", s, a, titlecase); }},
    {"translate", unsupported},
    {"upper", [](Interpreter&, const Value& s,
                 const Arguments& a) { return recased("upper", s, a, to_upper); }},
    {"zfill", zero_fill},
});

}  // namespace

const Method* find_str_method(std::string_view name) noexcept {
  const auto* found = std::lower_bound(
      kMethods.begin(), kMethods.end(), name,
      [](const Method& method, std::string_view key) { return method.name < key; });
  return found != kMethods.end() && found->name == name ? found : nullptr;
}

}  // namespace lockstep::jinja
