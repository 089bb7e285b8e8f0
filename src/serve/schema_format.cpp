// After RFC 3339 (dates, times, durations), 4122 (UUIDs), 5321 (addresses), 1123 (hosts), 2673 and
// 4291 (IP addresses), 3986 (URIs), 6901 (JSON pointers).
#include "serve/schema_format.h"

#include <fmt/format.h>

#include <map>

namespace lockstep::serve {
namespace {

// Every day there is, of the years 0001 to 9999.
std::string date() {
  const std::string year = R"((\d{3}[1-9]|\d{2}[1-9]0|\d[1-9]00|[1-9]000))";
  const std::string leap_year =
      R"((\d\d(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00))";
  return fmt::format(
      R"(({0}-((0[13578]|1[02])-(0[1-9]|[12]\d|3[01])|(0[469]|11)-(0[1-9]|[12]\d|30)|02-(0[1-9]|1\d|2[0-8]))|{1}-02-29))",
      year, leap_year);
}

std::string time() {
  return R"(([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+\-]([01]\d|2[0-3]):[0-5]\d))";
}

std::string duration() {
  const std::string time = R"(T(\d{1,9}H(\d{1,9}M(\d{1,9}S)?)?|\d{1,9}M(\d{1,9}S)?|\d{1,9}S))";
  const std::string date = R"((\d{1,9}Y(\d{1,9}M(\d{1,9}D)?)?|\d{1,9}M(\d{1,9}D)?|\d{1,9}D))";
  return fmt::format(R"(P({0}({1})?|{1}|\d{{1,9}}W))", date, time);
}

std::string label() { return "[A-Za-z0-9]([A-Za-z0-9\\-]{0,28}[A-Za-z0-9])?"; }

std::string hostname() { return fmt::format(R"({0}(\.{0}){{0,7}})", label()); }

std::string email() {
  const std::string word = R"([A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]{1,20})";
  // The last label has letters alone, as top-level domains do.
  return fmt::format(R"({0}(\.{0}){{0,2}}@({1}\.){{1,6}}[A-Za-z]{{2,20}})", word, label());
}

std::string ipv4() {
  return R"(((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d))";
}

std::string ipv6() {
  const std::string part = "[0-9A-Fa-f]{1,4}";
  std::string ways = fmt::format("({0}:){{7}}{0}|::|::{0}(:{0}){{0,6}}|({0}:){{1,7}}:", part);
  // `before` parts, a gap, and parts after it: at most seven together.
  for (int before = 1; before <= 6; ++before) {
    ways += fmt::format("|({0}:){{{1}}}(:{0}){{1,{2}}}", part, before, 7 - before);
  }
  return ways;
}

std::string uri_rest() {
  const std::string path_char = R"(([A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2}))";
  return fmt::format(R"((/{0}*)*(\?({0}|[/?])*)?(#({0}|[/?])*)?)", path_char);
}

std::string uri() {
  return fmt::format(R"([A-Za-z][A-Za-z0-9+.\-]*://{0}(:\d{{1,4}})?{1})", hostname(), uri_rest());
}

std::string json_pointer() { return R"((/([^~/]|~[01])*)*)"; }

const std::map<std::string_view, std::string (*)()>& formats() {
  static const std::map<std::string_view, std::string (*)()> all{
      {"date", date},
      {"time", time},
      {"date-time", [] { return date() + "T" + time(); }},
      {"duration", duration},
      {"uuid", [] { return std::string("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"); }},
      {"email", email},
      {"hostname", hostname},
      {"ipv4", ipv4},
      {"ipv6", ipv6},
      {"uri", uri},
      {"uri-reference", [] { return fmt::format("({}|{})", uri(), uri_rest()); }},
      {"json-pointer", json_pointer},
      {"relative-json-pointer", [] { return R"((0|[1-9]\d{0,5})(#|)" + json_pointer() + ")"; }},
  };
  return all;
}

}  // namespace

std::optional<std::string> pattern_of_format(std::string_view format) {
  const auto known = formats().find(format);
  if (known == formats().end()) return std::nullopt;
  return known->second();
}

std::string known_formats() {
  std::string out;
  for (const auto& [name, unused] : formats()) {
    if (!out.empty()) out += ", ";
    out += name;
  }
  return out;
}

}  // namespace lockstep::serve
