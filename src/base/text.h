// Text for messages: untrusted names made safe to print.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lockstep {

/// `text` in double quotes, control characters and quotes escaped, cut after 120 bytes with "...".
std::string quote_text(std::string_view text);

/// "1 tensor", "3 tensors".
std::string counted(uint64_t n, std::string_view noun);

}  // namespace lockstep
