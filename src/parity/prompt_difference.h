// How two prompts' ids differ, in words.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep::parity {

/// "at position 3 the reference has 7, the port 9", and what it looks like where it looks like
/// something: a doubled or missing first id, another id in front, a shorter text.
std::string prompt_difference(const std::vector<int64_t>& reference,
                              const std::vector<int64_t>& port);

}  // namespace lockstep::parity
