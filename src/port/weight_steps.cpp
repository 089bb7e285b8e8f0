#include "port/weight_steps.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "port/topics.h"

namespace lockstep::port {
namespace {

struct Joint {
  std::string_view whole;
  std::vector<std::string_view> parts;
};

// In the order of their rows, as every reference of these names has them.
const std::vector<Joint>& joints() {
  static const std::vector<Joint> all = {{"qkv_proj", {"q_proj", "k_proj", "v_proj"}},
                                         {"gate_up_proj", {"gate_proj", "up_proj"}}};
  return all;
}

// "a.b.qkv_proj.weight" -> {"a.b.", "qkv_proj", ".weight"}.
struct Name {
  std::string parent, module, leaf;
};
Name split(const std::string& name) {
  const size_t leaf = name.rfind('.');
  if (leaf == std::string::npos || leaf == 0) return {};
  const size_t module = name.rfind('.', leaf - 1);
  if (module == std::string::npos) return {};
  return {name.substr(0, module + 1), name.substr(module + 1, leaf - module - 1),
          name.substr(leaf)};
}

// "model.layers.0.self_attn.qkv_proj.weight [256, 64]"
struct Wanted {
  std::string name;
  std::vector<int64_t> shape;
};
Wanted wanted_of(const std::string& line) {
  const size_t at = line.find(" [");
  if (at == std::string::npos) return {};
  Wanted wanted{line.substr(0, at), {}};
  const char* p = line.data() + at + 2;
  const char* const end = line.data() + line.size();
  while (p < end && *p != ']') {
    int64_t n = 0;
    const auto [next, error] = std::from_chars(p, end, n);
    if (error != std::errc()) return {};
    wanted.shape.push_back(n);
    p = next;
    while (p < end && (*p == ',' || *p == ' ')) ++p;
  }
  return wanted;
}

int64_t rows_of(const Checkpoint& headers, const std::string& name) {
  const TensorEntry* entry = headers.find(name);
  return entry == nullptr || entry->shape.empty() ? 0 : entry->shape[0];
}

// The whole of what is stored in parts.
std::vector<WeightStep::Rows> joined(const Name& name, const Joint& joint, int64_t n_rows,
                                     const Checkpoint& headers) {
  std::vector<WeightStep::Rows> parts;
  int64_t found = 0;
  for (const std::string_view part : joint.parts) {
    parts.push_back({name.parent + std::string(part) + name.leaf, 0, 0});
    const int64_t n = rows_of(headers, parts.back().stored);
    if (n == 0) return {};
    found += n;
  }
  return found == n_rows ? parts : std::vector<WeightStep::Rows>();
}

// One part of what is stored whole; the rows of the parts before it are in `wanted`.
std::vector<WeightStep::Rows> taken_out(const Name& name, const Joint& joint,
                                        const std::map<std::string, int64_t>& wanted,
                                        const Checkpoint& headers) {
  const std::string whole = name.parent + std::string(joint.whole) + name.leaf;
  int64_t begin = 0, end = 0, total = 0;
  for (const std::string_view part : joint.parts) {
    const auto at = wanted.find(name.parent + std::string(part) + name.leaf);
    if (at == wanted.end()) return {};
    if (part == name.module) {
      begin = total;
      end = total + at->second;
    }
    total += at->second;
  }
  if (total == 0 || rows_of(headers, whole) != total) return {};
  return {{whole, begin, end}};
}

}  // namespace

std::vector<WeightStep> find_weight_steps(const Audit& audit, const Checkpoint& headers) {
  std::vector<Wanted> all;
  std::map<std::string, int64_t> n_rows;
  for (const std::string& line : audit.missing) {
    Wanted wanted = wanted_of(line);
    if (wanted.shape.empty()) continue;
    n_rows[wanted.name] = wanted.shape[0];
    all.push_back(std::move(wanted));
  }
  std::vector<WeightStep> steps;
  std::set<std::string> seen;
  for (const Wanted& wanted : all) {
    const std::string pattern = pattern_of(wanted.name);
    if (std::ranges::count(pattern, '*') > 1 || !seen.insert(pattern).second) continue;
    const Name name = split(wanted.name);
    for (const Joint& joint : joints()) {
      const bool is_part = std::ranges::find(joint.parts, name.module) != joint.parts.end();
      std::vector<WeightStep::Rows> parts;
      if (name.module == joint.whole) parts = joined(name, joint, wanted.shape[0], headers);
      if (is_part) parts = taken_out(name, joint, n_rows, headers);
      if (parts.empty()) continue;
      for (WeightStep::Rows& rows : parts) rows.stored = pattern_of(rows.stored);
      steps.push_back({pattern, wanted.shape, std::move(parts), 0});
    }
  }
  return steps;
}

}  // namespace lockstep::port
