// Characters that joined a property after the Unicode version of PCRE2's tables.
#pragma once

#include <string_view>

namespace lockstep::text {

/// Ranges in the notation of a PCRE2 set, for a general category ("L", "Lu") or a script in lower
/// case ("han"); empty where nothing was added.
std::string_view newer_characters(std::string_view property) noexcept;

}  // namespace lockstep::text
