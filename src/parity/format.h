// Numbers and lines as reports write them.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace lockstep::parity {

inline constexpr size_t kReportColumns = 100;

/// At most seven columns: 0.0123 where it fits, else 1.2e-05; "inf" and "nan".
std::string short_number(double x);
/// `text` in `width` columns, its middle left out where it is longer.
std::string elided(const std::string& text, size_t width);
/// `text` with control characters, which strangers' files may hold, as blanks.
std::string printable(std::string text);
/// Words of `text` in lines of at most kReportColumns, each after the first indented by `indent`.
std::string wrapped(const std::string& text, size_t indent);
/// "0-3, 5": ascending numbers, neighbours joined.
std::string ranges_of(const std::vector<int>& numbers);

}  // namespace lockstep::parity
