// What JSON schema calls `format`, as patterns.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lockstep::serve {

/// A pattern of the whole text; nothing for a name that is not known. What a pattern describes is
/// valid; not every valid text is described: years have four digits, hosts at most eight labels of
/// thirty characters, seconds end at 59.
std::optional<std::string> pattern_of_format(std::string_view format);

/// The names, as a list to be read.
std::string known_formats();

}  // namespace lockstep::serve
