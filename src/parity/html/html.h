// One HTML file that needs nothing else: no script, no network, colours of the reader's choice.
#pragma once

#include <string>
#include <string_view>

namespace lockstep::parity {

/// `text` as content or as a quoted attribute's value. What is not UTF-8, control characters and
/// the marks that turn the direction of writing become U+FFFD: names and texts are strangers'.
std::string escape_html(std::string_view text);

/// "<tag class=\"...\">text</tag>", the text escaped.
std::string element(std::string_view tag, std::string_view class_name, std::string_view text);

/// A whole document. `body` is HTML, `title` is text. The page forbids itself scripts and every
/// address but its own.
std::string html_page(std::string_view title, std::string_view body);

}  // namespace lockstep::parity
