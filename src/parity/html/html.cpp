#include "parity/html/html.h"

#include <fmt/format.h>

#include "parity/html/style.h"
#include "text/utf8.h"

namespace lockstep::parity {
namespace {

// Invisible, and able to make a name read as another one.
bool turns_direction(char32_t c) {
  return c == 0x061C || c == 0x200E || c == 0x200F || (c >= 0x202A && c <= 0x202E) ||
         (c >= 0x2066 && c <= 0x2069);
}

bool is_control(char32_t c) {
  return (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0);
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string valid, out;
  text::append_lossy_utf8(valid, text);
  for (size_t at = 0; at < valid.size();) {
    const size_t begin = at;
    const char32_t c = text::next_code_point(valid, at);
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&#39;";
    } else if (is_control(c) || turns_direction(c)) {
      out += text::kReplacementCharacter;
    } else {
      out.append(valid, begin, at - begin);
    }
  }
  return out;
}

std::string element(std::string_view tag, std::string_view class_name, std::string_view text) {
  const std::string attribute =
      class_name.empty() ? "" : fmt::format(" class=\"{}\"", escape_html(class_name));
  return fmt::format("<{0}{1}>{2}</{0}>", tag, attribute, escape_html(text));
}

std::string html_page(std::string_view title, std::string_view body) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
      "style-src 'unsafe-inline'; img-src data:\">\n"
      "<title>{}</title>\n<link rel=\"icon\" href=\"data:,\">\n<style>\n{}</style>\n</head>\n"
      "<body>\n{}</body>\n</html>\n",
      escape_html(title), kStyle, body);
}

}  // namespace lockstep::parity
