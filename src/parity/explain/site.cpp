#include "parity/explain/site.h"

#include <algorithm>

namespace lockstep::parity {
namespace {

bool changes_nothing(std::string_view op) { return op == "cast"; }

std::vector<double> sorted_row(const Array& array, int64_t row) {
  std::vector<double> values(array.row(row), array.row(row) + array.width());
  std::ranges::sort(values);
  return values;
}

}  // namespace

const Operand* SiteStep::operand(std::string_view role) const {
  const auto at = std::ranges::find(operands, role, &Operand::role);
  return at == operands.end() ? nullptr : &*at;
}

const SiteStep* Site::find(std::string_view op) const {
  const SiteStep* found = nullptr;
  for (const SiteStep& step : steps) {
    if (step.op != op) continue;
    if (found != nullptr) return nullptr;
    found = &step;
  }
  return found;
}

const SiteStep* Site::only(std::string_view op) const {
  const SiteStep* step = find(op);
  for (const SiteStep& other : steps) {
    if (&other != step && !changes_nothing(other.op)) return nullptr;
  }
  return step;
}

const Array* Site::operand(const SiteStep& step, std::string_view role) const {
  const Operand* operand = step.operand(role);
  return operand == nullptr ? nullptr : value(*operand);
}

bool Site::same(const Array& found, const Array& expected) const {
  return difference(found, expected) <= bar;
}

double Site::difference(const Array& found, const Array& expected) const {
  if (!is_ids) return distance(found, expected);
  if (found.values.size() != expected.values.size() || expected.rows() == 0) return 1;
  const Array rows = reshaped(found, expected.shape);
  int64_t n_other = 0;
  for (int64_t row = 0; row < expected.rows(); ++row) {
    n_other += sorted_row(rows, row) != sorted_row(expected, row);
  }
  return static_cast<double>(n_other) / static_cast<double>(expected.rows());
}

}  // namespace lockstep::parity
