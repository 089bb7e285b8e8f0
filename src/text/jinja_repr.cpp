// str() and repr() of values.
#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "text/jinja_call.h"
#include "text/jinja_unicode.h"
#include "text/jinja_value.h"

namespace lockstep::jinja {
namespace {

void append_escaped(std::string& out, char32_t c) {
  switch (c) {
    case '\\':
      out += "\\\\";
      return;
    case '\n':
      out += "\\n";
      return;
    case '\r':
      out += "\\r";
      return;
    case '\t':
      out += "\\t";
      return;
    default:
      break;
  }
  const auto code = static_cast<uint32_t>(c);
  if (is_printable(c)) {
    append_utf8(out, c);
  } else if (code < 0x100) {
    out += fmt::format("\\x{:02x}", code);
  } else if (code < 0x10000) {
    out += fmt::format("\\u{:04x}", code);
  } else {
    out += fmt::format("\\U{:08x}", code);
  }
}

/// repr() into one string, with the namespaces that are being written, since those may contain
/// themselves.
class Writer {
 public:
  std::string out;

  void write(const Value& value) {
    const Nested nested;
    switch (value.kind()) {
      case Kind::kList:
      case Kind::kTuple:
        return write_items(value);
      case Kind::kDict:
        return write_dict(value.dict());
      case Kind::kView:
        return write_view(value);
      case Kind::kNamespace:
        return write_namespace(value.as<Namespace>());
      default:
        return grow(out, scalar(value));
    }
  }

 private:
  static std::string scalar(const Value& value) {
    switch (value.kind()) {
      case Kind::kUndefined:
        return "Undefined";
      case Kind::kNone:
        return "None";
      case Kind::kBool:
        return value.as_int() != 0 ? "True" : "False";
      case Kind::kInt:
        return int_to_string(value.as_int());
      case Kind::kFloat:
        return repr_float(value.as_double());
      case Kind::kStr:
        return value.is_markup() ? "Markup(" + repr_string(value.text()) + ")"
                                 : repr_string(value.text());
      case Kind::kRange: {
        const auto& range = value.as<Range>();
        const std::string bounds = int_to_string(range.start) + ", " + int_to_string(range.stop);
        return range.step == 1 ? "range(" + bounds + ")"
                               : "range(" + bounds + ", " + int_to_string(range.step) + ")";
      }
      case Kind::kCallable:
        return value.as<Callable>().describe();
      case Kind::kInstance:
        return value.as<Instance>().describe();
      default:
        // Python prints an address; there is nothing to agree on.
        return fmt::format("<{} object>", type_name(value));
    }
  }

  void write_items(const Value& value) {
    const bool is_list = value.is(Kind::kList);
    out += is_list ? '[' : '(';
    const char* separator = "";
    for (const Value& item : value.items()) {
      out += separator;
      write(item);
      separator = ", ";
    }
    if (!is_list && value.items().size() == 1) out += ',';
    out += is_list ? ']' : ')';
  }

  void write_dict(const Dict& dict) {
    out += '{';
    const char* separator = "";
    for (const auto& [key, value] : dict.items()) {
      out += separator;
      write(key);
      out += ": ";
      write(value);
      separator = ", ";
    }
    out += '}';
  }

  void write_view(const Value& value) {
    const auto& view = value.as<View>();
    out += type_name(value);
    out += "([";
    const size_t n = view.dict.dict().items().size();
    for (size_t i = 0; i < n; ++i) {
      if (i > 0) out += ", ";
      write(view.at(i));
    }
    out += "])";
  }

  void write_namespace(const Namespace& ns) {
    for (const Namespace* open : open_) {
      if (open == &ns) {
        out += "<Namespace {...}>";
        return;
      }
    }
    open_.push_back(&ns);
    out += "<Namespace {";
    const char* separator = "";
    for (const auto& [name, value] : ns.attributes) {
      out += separator;
      out += repr_string(name) + ": ";
      write(value);
      separator = ", ";
    }
    out += "}>";
    open_.pop_back();
  }

  std::vector<const Namespace*> open_;
};

}  // namespace

std::string repr_string(std::string_view text) {
  const bool has_single = text.find('\'') != text.npos;
  const char quote = has_single && text.find('"') == text.npos ? '"' : '\'';
  std::string out(1, quote);
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = next_code_point(text, pos);
    if (c == static_cast<char32_t>(quote)) out += '\\';
    append_escaped(out, c);
  }
  check_string_size(out.size());
  return out + quote;
}

std::string repr_float(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  // The shortest digits that read back as the same number, then Python's choice of notation.
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof(buffer), value, std::chars_format::scientific).ptr;
  std::string_view text(buffer, static_cast<size_t>(end - buffer));
  std::string out(text[0] == '-' ? 1 : 0, '-');
  text.remove_prefix(out.size());
  const size_t e = text.find('e');
  std::string digits(1, text[0]);
  if (e > 2) digits += text.substr(2, e - 2);
  const int exponent = std::stoi(std::string(text.substr(e + 1)));
  const int n_digits = static_cast<int>(digits.size());
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (n_digits > 1) out += '.';
    out.append(digits, 1, digits.npos);
    return fmt::format("{}e{}{:02}", out, exponent < 0 ? '-' : '+', std::abs(exponent));
  }
  if (exponent < 0)
    return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  if (n_digits <= exponent + 1) {
    return out + digits + std::string(static_cast<size_t>(exponent + 1 - n_digits), '0') + ".0";
  }
  const size_t whole = static_cast<size_t>(exponent) + 1;
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string int_to_string(Int value) {
  if (value >= INT64_MIN && value <= INT64_MAX) return std::to_string(static_cast<int64_t>(value));
  __extension__ typedef unsigned __int128 Unsigned;
  Unsigned rest = value < 0 ? -static_cast<Unsigned>(value) : static_cast<Unsigned>(value);
  std::string out;
  for (; rest != 0; rest /= 10) out += static_cast<char>('0' + static_cast<int>(rest % 10));
  if (value < 0) out += '-';
  return {out.rbegin(), out.rend()};
}

std::string repr(const Value& value) {
  Writer writer;
  writer.write(value);
  return std::move(writer.out);
}

std::string to_str(const Value& value) {
  if (value.is(Kind::kStr)) return value.text();
  if (value.is(Kind::kUndefined)) return {};
  return repr(value);
}

}  // namespace lockstep::jinja
