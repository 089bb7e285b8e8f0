// The style of every HTML report: one CSS file, embedded at build (style.css).
#pragma once

#include <string_view>

namespace lockstep::parity {

extern const std::string_view kStyle;

}  // namespace lockstep::parity
