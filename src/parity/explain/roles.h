// What the inputs of each op are called (site.h, Operand).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lockstep::parity {

/// `n` names, in the order of the op's inputs; "input.<i>" for those that have none.
std::vector<std::string> roles_of(std::string_view op, size_t n);

}  // namespace lockstep::parity
