// A validator of JSON schema for tests, written after the specification (2020-12) and sharing
// nothing with the compiler of grammars: patterns go through std::regex, addresses through
// inet_pton, dates through std::chrono.
#pragma once

#include <arpa/inet.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <locale>
#include <nlohmann/json.hpp>
#include <regex>
#include <string>

namespace lockstep::serve::test {

using Json = nlohmann::ordered_json;

/// UTF-8 as characters.
inline std::wstring wide(const std::string& text) {
  std::wstring out;
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i++]);
    const int n = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    uint32_t c = n == 0 ? lead : lead & (0x3fu >> n);
    for (int k = 0; k < n; ++k) c = c << 6 | (static_cast<unsigned char>(text[i++]) & 0x3fu);
    out += static_cast<wchar_t>(c);
  }
  return out;
}

/// In time that does not explode: libstdc++'s matcher that goes all ways at once.
inline bool found(const std::string& pattern, const std::string& text) {
  const auto flags = std::regex_constants::ECMAScript | std::regex_constants::__polynomial;
  return std::regex_search(wide(text), std::wregex(wide(pattern), flags));
}

class SchemaValidator {
 public:
  explicit SchemaValidator(const Json& document) : document_(document) {}

  /// Empty where `value` is valid; else what is wrong.
  std::string check(const Json& value) const { return check(value, document_); }

 private:
  std::string check(const Json& value, const Json& schema) const {
    if (schema.is_boolean()) return schema.get<bool>() ? "" : "false allows nothing";
    if (schema.contains("$ref")) {
      return check(value,
                   document_[Json::json_pointer(schema["$ref"].get<std::string>().substr(1))]);
    }
    if (schema.contains("const") && value != schema["const"]) return "const";
    if (schema.contains("enum")) {
      bool any = false;
      for (const Json& one : schema["enum"]) any |= one == value;
      if (!any) return "enum";
    }
    if (schema.contains("anyOf")) {
      bool any = false;
      for (const Json& one : schema["anyOf"]) any |= check(value, one).empty();
      if (!any) return "anyOf";
    }
    if (schema.contains("type") && !is_of(value, schema["type"])) return "type";
    if (value.is_string()) return check_string(value.get<std::string>(), schema);
    if (value.is_number()) return check_number(value.get<double>(), schema);
    if (value.is_array()) return check_array(value, schema);
    if (value.is_object()) return check_object(value, schema);
    return "";
  }

  static bool is_of(const Json& value, const Json& type) {
    if (type.is_array()) {
      for (const Json& one : type) {
        if (is_of(value, one)) return true;
      }
      return false;
    }
    const auto name = type.get<std::string>();
    if (name == "integer") {
      return value.is_number() && value.get<double>() == std::floor(value.get<double>());
    }
    return name == std::string(value.type_name());
  }

  static std::string check_string(const std::string& text, const Json& schema) {
    const size_t length = wide(text).size();
    if (schema.contains("minLength") && length < schema["minLength"]) return "minLength";
    if (schema.contains("maxLength") && length > schema["maxLength"]) return "maxLength";
    if (schema.contains("pattern") && !found(schema["pattern"], text)) return "pattern";
    if (schema.contains("format") && !is_format(schema["format"], text)) return "format";
    return "";
  }

  static bool is_date(const std::string& text) {
    int year = 0;
    unsigned month = 0, day = 0;
    if (text.size() != 10 || std::sscanf(text.c_str(), "%4d-%2u-%2u", &year, &month, &day) != 3) {
      return false;
    }
    return year > 0 && std::chrono::year_month_day(std::chrono::year(year),
                                                   std::chrono::month(month), std::chrono::day(day))
                           .ok();
  }

  static bool is_time(const std::string& text) {
    return found(
        R"(^([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$)",
        text);
  }

  static bool is_format(const std::string& name, const std::string& text) {
    const auto is = [&](const char* pattern) { return found(pattern, text); };
    unsigned char address[16];
    if (name == "date") return is_date(text);
    if (name == "time") return is_time(text);
    if (name == "date-time") {
      return text.size() > 11 && text[10] == 'T' && is_date(text.substr(0, 10)) &&
             is_time(text.substr(11));
    }
    if (name == "ipv4") return inet_pton(AF_INET, text.c_str(), address) == 1;
    if (name == "ipv6") return inet_pton(AF_INET6, text.c_str(), address) == 1;
    if (name == "uuid") return is("^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$");
    if (name == "duration") {
      return text != "P" && text.back() != 'T' &&
             is("^P(([0-9]+Y)?([0-9]+M)?([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?|[0-9]+W)$");
    }
    if (name == "hostname") return is_host(text);
    if (name == "email") {
      const size_t at = text.rfind('@');
      return at != text.npos && at <= 64 && is_host(text.substr(at + 1)) &&
             found("^[^.@\"\\s][^@\"\\s]*$", text.substr(0, at)) && text[at - 1] != '.';
    }
    if (name == "uri") return is("^[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9][^ <>\"{}|\\\\^`]*$");
    if (name == "uri-reference") return is("^[^ <>\"{}|\\\\^`]*$");
    if (name == "json-pointer") return is("^(/([^~/]|~[01])*)*$");
    return name == "relative-json-pointer" && is("^(0|[1-9][0-9]*)(#|(/([^~/]|~[01])*)*)$");
  }

  static bool is_host(const std::string& text) {
    return text.size() <= 253 && found(
                                     "^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
                                     "(\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$",
                                     text);
  }

  static std::string check_number(double value, const Json& schema) {
    if (schema.contains("minimum") && value < schema["minimum"].get<double>()) return "minimum";
    if (schema.contains("maximum") && value > schema["maximum"].get<double>()) return "maximum";
    if (schema.contains("exclusiveMinimum") && value <= schema["exclusiveMinimum"].get<double>()) {
      return "exclusiveMinimum";
    }
    if (schema.contains("exclusiveMaximum") && value >= schema["exclusiveMaximum"].get<double>()) {
      return "exclusiveMaximum";
    }
    if (schema.contains("multipleOf") &&
        std::fmod(value, schema["multipleOf"].get<double>()) != 0) {
      return "multipleOf";
    }
    return "";
  }

  std::string check_array(const Json& value, const Json& schema) const {
    if (schema.contains("minItems") && value.size() < schema["minItems"]) return "minItems";
    if (schema.contains("maxItems") && value.size() > schema["maxItems"]) return "maxItems";
    const Json prefix = schema.value("prefixItems", Json::array());
    for (size_t i = 0; i < value.size(); ++i) {
      const bool is_first = i < prefix.size();
      if (!is_first && !schema.contains("items")) continue;
      const std::string wrong = check(value[i], is_first ? prefix[i] : schema["items"]);
      if (!wrong.empty()) return "[" + std::to_string(i) + "]." + wrong;
    }
    return "";
  }

  std::string check_object(const Json& value, const Json& schema) const {
    if (schema.contains("minProperties") && value.size() < schema["minProperties"]) {
      return "minProperties";
    }
    if (schema.contains("maxProperties") && value.size() > schema["maxProperties"]) {
      return "maxProperties";
    }
    for (const Json& name : schema.value("required", Json::array())) {
      if (!value.contains(name.get<std::string>())) return "required";
    }
    const Json declared = schema.value("properties", Json::object());
    for (const auto& [name, inner] : value.items()) {
      const bool is_declared = declared.contains(name);
      if (!is_declared && !schema.contains("additionalProperties")) continue;
      const std::string wrong =
          check(inner, is_declared ? declared[name] : schema["additionalProperties"]);
      if (!wrong.empty()) return name + "." + wrong;
    }
    return "";
  }

  const Json& document_;
};

}  // namespace lockstep::serve::test
