#include "parity/prompt_difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

namespace lockstep::parity {
namespace {

using Ids = std::vector<int64_t>;

/// What `longer` has that `shorter` lacks.
std::string extra(const Ids& shorter, const Ids& longer, std::string_view side) {
  const auto n = static_cast<ptrdiff_t>(longer.size() - shorter.size());
  if (n <= 0 || shorter.empty()) return {};
  if (std::equal(shorter.begin(), shorter.end(), longer.begin() + n)) {
    if (n == 1 && longer[0] == longer[1]) {
      return fmt::format("the {} has its first id twice, a double BOS", side);
    }
    return fmt::format("the {} has {} more in front ({} first): a BOS or a template", side, n,
                       longer.front());
  }
  if (std::equal(shorter.begin(), shorter.end(), longer.begin())) {
    return fmt::format("the {} goes on for {} more: an end of turn or a template", side, n);
  }
  return {};
}

}  // namespace

std::string prompt_difference(const Ids& reference, const Ids& port) {
  size_t at = 0;
  while (at < reference.size() && at < port.size() && reference[at] == port[at]) ++at;
  const auto id = [&](const Ids& ids) {
    return at < ids.size() ? fmt::format("{}", ids[at]) : std::string("nothing");
  };
  std::string out =
      fmt::format("at position {} the reference has {}, the port {}", at, id(reference), id(port));
  std::string looks = extra(reference, port, "port");
  if (looks.empty()) looks = extra(port, reference, "reference");
  if (!looks.empty()) out += "; " + looks;
  return out;
}

}  // namespace lockstep::parity
