// A comparison as text of at most 100 columns, and as JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "parity/diff.h"

namespace lockstep::parity {

struct ReportOptions {
  bool all = false;     // every tap, not only landmarks and those that are not clean
  bool colour = false;  // ANSI colours
  bool per_token = false, per_channel = false;
  std::optional<int64_t> token;  // a column for this token
};

std::string report_text(const Recording& reference, const Recording& port, const DiffReport& report,
                        const ReportOptions& options);

/// {"verdict","valid","covered","not_covered","findings","thresholds","runs"}, on several lines.
std::string report_json(const Recording& reference, const Recording& port,
                        const DiffReport& report);

}  // namespace lockstep::parity
