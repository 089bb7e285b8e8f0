// A comparison as one HTML file, and the parts of it that other reports show too.
#pragma once

#include <string>

#include "parity/diff.h"
#include "parity/html/charts.h"

namespace lockstep::parity {

/// A whole page. `diff` kept the tokens of every tap (DiffOptions::keep_tokens), else there is no
/// heat map.
std::string diff_page(const Recording& reference, const Recording& port, const DiffReport& diff);

/// Heat map, curve, worst taps opened, all runs: sections of a page.
std::string comparison_html(const DiffReport& diff, const Marks& marks);
/// A section with a heading and a list; nothing where the list is empty.
std::string list_html(const std::string& heading, const std::vector<std::string>& items);
/// "good", "bad" or "open": the class that colours a verdict.
std::string_view verdict_class(Outcome outcome);
/// "PASS", "DIVERGED", "UNDECIDED".
std::string verdict_word(Outcome outcome);
/// The page's box with the verdict and what it is about.
std::string verdict_html(Outcome outcome, const std::string& headline,
                         const Recording& reference);

}  // namespace lockstep::parity
