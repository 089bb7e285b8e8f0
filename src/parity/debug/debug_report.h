// What debug() found, on a screen, as JSON, and as one HTML file.
#pragma once

#include <string>

#include "parity/debug/debug.h"

namespace lockstep::parity {

struct DebugTextOptions {
  bool colour = false;  // ANSI colours
};

/// At most 30 lines of at most 100 columns, without the line "next:" .
std::string debug_text(const Recording& reference, const DebugReport& report,
                       const DebugTextOptions& options = {});

/// {"verdict","covered","not_covered","findings","stages",...}, one document.
std::string debug_json(const Recording& reference, const DebugReport& report);

/// One file, nothing beside it: the verdict and the guilty operators first.
std::string debug_page(const Recording& reference, const DebugReport& report);

/// "confirmed", "ambiguous" or "undecided".
const char* certainty_of(const Fault& fault);
/// "rms_norm in LlamaRMSNorm; 6 places, layers 0-5".
std::string place_of(const Fault& fault);
/// The cause with its numbers; of an undecided fault, that there is none.
std::string cause_of(const Fault& fault);
/// The numbers it rests on: off by what, explained, rival.
std::string evidence_of(const Fault& fault);

}  // namespace lockstep::parity
