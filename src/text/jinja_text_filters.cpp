// Filters of one string.
#include <fmt/format.h>

#include <array>

#include "text/jinja_filters.h"
#include "text/jinja_format.h"
#include "text/jinja_ops.h"
#include "text/jinja_unicode.h"

namespace lockstep::jinja {
namespace {

Value like(const Value& model, std::string text) {
  return model.is_markup() ? Value::markup(std::move(text)) : Value::string(std::move(text));
}

/// Other values as str(), strings as they are.
Value soft_string(const Value& value) {
  return value.is(Kind::kStr) ? value : Value::string(to_str(value));
}

Value call_method(Interpreter& interpreter, const char* name, const Value& value,
                  std::vector<Value> arguments) {
  return find_str_method(name)->function(interpreter, soft_string(value),
                                         Arguments{std::move(arguments), {}});
}

Value center(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Parameters p("center", arguments, {"width"}, 0);
  return call_method(interpreter, "center", value, {p.has(0) ? p[0] : Value::integer(80)});
}

Value trim(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Parameters p("trim", arguments, {"chars"}, 0);
  return call_method(interpreter, "strip", value, {p.has(0) ? p[0] : Value::none()});
}

template <const char* const& name>
Value recased(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Parameters p(name, arguments, {}, 0);
  return call_method(interpreter, name, value, {});
}
constexpr const char* kUpper = "upper";
constexpr const char* kLower = "lower";
constexpr const char* kCapitalize = "capitalize";

Value title(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("title", arguments, {}, 0);
  static constexpr std::u32string_view kOpening = U"-({[<";
  const std::u32string text = decode(to_str(value));
  const auto parts_words = [&](size_t i) {
    return is_space(text[i]) || kOpening.find(text[i]) != kOpening.npos;
  };
  std::u32string out;
  for (size_t begin = 0, end = 0; begin < text.size(); begin = end) {
    const bool is_gap = parts_words(begin);
    while (end < text.size() && parts_words(end) == is_gap) ++end;
    const std::u32string_view word = std::u32string_view(text).substr(begin, end - begin);
    out += to_upper(word.substr(0, 1)) + to_lower(word.substr(1));
  }
  check_string_size(out.size());
  return Value::string(encode(out));
}

Value replace(Interpreter& interpreter, const Value& value, const Arguments& arguments) {
  const Parameters p("replace", arguments, {"old", "new", "count"}, 2);
  const auto plain = [](const Value& v) { return Value::string(to_str(v)); };
  return find_str_method("replace")->function(
      interpreter, plain(value),
      {{plain(p[0]), plain(p[1]), p.is_none(2) ? Value::integer(-1) : p[2]}, {}});
}

Value indent(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("indent", arguments, {"width", "first", "blank"}, 0);
  if (value.is(Kind::kUndefined)) fail_undefined(value);
  if (!value.is(Kind::kStr)) {
    fail(value.is(Kind::kList) ? "AttributeError" : "TypeError",
         fmt::format("indent wants a string, not {}", type_name(value)));
  }
  std::string indention = "    ";
  if (p.has(0)) {
    indention = p[0].is(Kind::kStr) ? p[0].text()
                                    : binary(Operator::kMultiply, Value::string(" "), p[0]).text();
  }
  const bool blank = p.truth_of(2, false);
  const std::string text = value.text() + "\n";
  std::string out = p.truth_of(1, false) ? indention : "";
  bool is_first = true;
  for (const std::string_view line : split_lines(text, false)) {
    if (!is_first) {
      out += '\n';
      if (blank || !line.empty()) grow(out, indention);
    }
    grow(out, line);
    is_first = false;
  }
  return like(value, std::move(out));
}

Value truncate(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("truncate", arguments, {"length", "killwords", "end", "leeway"}, 0);
  const Int n = p.int_of(0, 255), leeway = p.is_none(3) ? 5 : p.int_of(3, 5);
  const std::string end = p.text_of(2, "...");
  const auto n_end = static_cast<Int>(count_code_points(end));
  if (n < n_end) fail("AssertionError", "the length of truncate is less than its end's");
  if (leeway < 0) fail("AssertionError", "the leeway of truncate is negative");
  Int size = 0;
  if (!length(value, size)) {
    fail("TypeError", fmt::format("object of type '{}' has no len()", type_name(value)));
  }
  if (size <= n + leeway) return value;
  if (!value.is(Kind::kStr)) {
    fail("TypeError", fmt::format("truncate wants a string, not {}", type_name(value)));
  }
  std::string text =
      value.text().substr(0, byte_offset(value.text(), static_cast<size_t>(n - n_end)));
  if (!p.truth_of(1, false)) text = text.substr(0, text.rfind(' '));
  return binary(Operator::kAdd, like(value, std::move(text)), p.has(2) ? p[2] : Value::string(end));
}

Value wordcount(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("wordcount", arguments, {}, 0);
  Int n = 0;
  bool inside = false;
  for (const char32_t c : decode(to_str(value))) {
    const bool is_word = is_alnum(c) || c == '_';
    if (is_word && !inside) ++n;
    inside = is_word;
  }
  return Value::integer(n);
}

Value format(Interpreter&, const Value& value, const Arguments& arguments) {
  if (!arguments.positional.empty() && !arguments.named.empty()) {
    fail("FilterArgumentError", "can't handle positional and keyword arguments at the same time");
  }
  if (arguments.named.empty()) {
    return format_percent(soft_string(value), Value::tuple(arguments.positional));
  }
  std::vector<Dict::Item> items;
  for (const auto& [name, item] : arguments.named) items.emplace_back(Value::string(name), item);
  return format_percent(soft_string(value), Dict::make(std::move(items)));
}

Value escape_filter(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("escape", arguments, {}, 0);
  return escape(value);
}

Value force_escape(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("forceescape", arguments, {}, 0);
  return Value::markup(escape_html(to_str(value)));
}

Value safe(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("safe", arguments, {}, 0);
  return value.is_markup() ? value : Value::markup(to_str(value));
}

std::string quoted(const Value& value, bool in_query) {
  std::string out;
  for (const char c : to_str(value)) {
    const auto byte = static_cast<unsigned char>(c);
    const bool is_plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
        std::string_view("_.-~").find(c) != std::string_view::npos || (c == '/' && !in_query);
    if (is_plain) {
      out += c;
    } else if (c == ' ' && in_query) {
      out += '+';
    } else {
      out += fmt::format("%{:02X}", byte);
    }
  }
  check_string_size(out.size());
  return out;
}

Value urlencode(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("urlencode", arguments, {}, 0);
  if (value.is(Kind::kStr) || !is_iterable(value)) return Value::string(quoted(value, false));
  std::vector<Value> pairs;
  if (value.is(Kind::kDict)) {
    for (const auto& [key, entry] : value.dict().items())
      pairs.push_back(Value::tuple({key, entry}));
  } else {
    pairs = collect(value);
  }
  std::string out;
  for (const Value& pair : pairs) {
    const std::vector<Value> two = collect(pair);
    if (two.size() != 2) fail("ValueError", "urlencode wants pairs");
    if (!out.empty()) out += '&';
    grow(out, quoted(two[0], true) + "=" + quoted(two[1], true));
  }
  return Value::string(std::move(out));
}

Value xmlattr(Interpreter&, const Value& value, const Arguments& arguments) {
  const Parameters p("xmlattr", arguments, {"autospace"}, 0);
  if (value.is(Kind::kUndefined)) fail_undefined(value);
  if (!value.is(Kind::kDict)) fail("AttributeError", "xmlattr wants a mapping");
  const bool starts_with_space = p.truth_of(0, true);
  std::string out;
  for (const auto& [key, entry] : value.dict().items()) {
    if (entry.is(Kind::kNone) || entry.is(Kind::kUndefined)) continue;
    if (!key.is(Kind::kStr)) fail("TypeError", "expected string or bytes-like object");
    if (key.text().find_first_of(" \t\n\r\f\v/>=") != std::string::npos) {
      fail("ValueError", fmt::format("Invalid character in attribute name: {}", repr(key)));
    }
    if (!out.empty() || starts_with_space) out += ' ';
    grow(out, escape(key).text() + "=\"" + escape(entry).text() + "\"");
  }
  return Value::string(std::move(out));
}

Value unsupported(Interpreter&, const Value&, const Arguments&) {
  fail("NotImplementedError",
       "the filters pprint, striptags, urlize and wordwrap are not supported");
}

constexpr auto kFilters = std::to_array<Filter>({
    {"capitalize", recased<kCapitalize>},
    {"center", center},
    {"e", escape_filter},
    {"escape", escape_filter},
    {"forceescape", force_escape},
    {"format", format},
    {"indent", indent},
    {"lower", recased<kLower>},
    {"pprint", unsupported},
    {"replace", replace},
    {"safe", safe},
    {"striptags", unsupported},
    {"title", title},
    {"trim", trim},
    {"truncate", truncate},
    {"upper", recased<kUpper>},
    {"urlencode", urlencode},
    {"urlize", unsupported},
    {"wordcount", wordcount},
    {"wordwrap", unsupported},
    {"xmlattr", xmlattr},
});

}  // namespace

std::span<const Filter> text_filters() noexcept { return kFilters; }

}  // namespace lockstep::jinja
