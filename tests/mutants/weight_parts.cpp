#include "weight_parts.h"

namespace lockstep::mutants {

std::vector<StoredPart> parts_of(const Plant& p, uint32_t n, size_t i) {
  const Parameter* parameter = p.edit.parameter_of(n, i);
  if (parameter == nullptr) return {};
  if (!parameter->parts.empty()) return parameter->parts;
  return {{parameter->stored, 0, p.sites.input_type(n, i).shape[0].count, false}};
}

bool permute_rows(Plant& p, uint32_t n, const std::vector<int64_t>& order, size_t i) {
  const std::vector<StoredPart> whole = parts_of(p, n, i);
  if (whole.empty()) return false;
  // Where each row lies.
  std::vector<StoredPart> rows;
  for (const StoredPart& part : whole) {
    if (part.transpose) return false;
    for (int64_t r = part.begin; r < part.end; ++r) rows.push_back({part.stored, r, r + 1, false});
  }
  if (rows.size() != order.size()) return false;
  std::vector<StoredPart> parts;
  for (const int64_t from : order) {
    const StoredPart& row = rows[static_cast<size_t>(from)];
    if (!parts.empty() && parts.back().stored == row.stored && parts.back().end == row.begin) {
      parts.back().end = row.end;
    } else {
      parts.push_back(row);
    }
  }
  p.edit.load(n, i, parts);
  return i != 1 || p.edit.node(n).inputs.size() < 3 || permute_rows(p, n, order, 2);
}

bool take_weights(Plant& p, uint32_t n, uint32_t other) {
  const size_t n_inputs = p.edit.node(n).inputs.size();
  if (n == other || p.edit.node(other).inputs.size() != n_inputs) return false;
  std::vector<std::vector<StoredPart>> parts;
  for (size_t i = 1; i < n_inputs; ++i) {
    parts.push_back(parts_of(p, other, i));
    if (parts.back().empty() || !(p.sites.input_type(n, i) == p.sites.input_type(other, i))) {
      return false;
    }
  }
  for (size_t i = 1; i < n_inputs; ++i) p.edit.load(n, i, parts[i - 1]);
  return true;
}

bool exchange_weights(Plant& p, uint32_t a, uint32_t b) {
  std::vector<std::vector<StoredPart>> of_a;
  for (size_t i = 1; i < p.edit.node(a).inputs.size(); ++i) of_a.push_back(parts_of(p, a, i));
  if (!take_weights(p, a, b)) return false;
  for (size_t i = 0; i < of_a.size(); ++i) p.edit.load(b, i + 1, of_a[i]);
  return true;
}

}  // namespace lockstep::mutants
