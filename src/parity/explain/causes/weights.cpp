// Causes that are a wrong weight: the port holds another tensor than the reference, or the right
// one in another order. The repair is the checkpoint's tensor of that name; what the port holds
// instead is then told by comparing it with all that the checkpoint has.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <string>

#include "parity/anatomy.h"
#include "parity/explain/causes/causes.h"
#include "parity/explain/causes/repair.h"

namespace lockstep::parity {
namespace {

// What the port holds in the place of a tensor.
enum class Held : uint8_t {
  kOtherTensor,  // another one of the same layer
  kOtherLayer,   // the same one of another layer
  kEmbedding,    // of a head: the embedding
  kTransposed,
  kRowsInside,   // rows in another order inside each head
  kRowsOfHeads,  // rows in another order, in runs
  kScaled,
  kZero,
  kUnknown,
};

struct Weight {
  const Operand* operand = nullptr;
  const Array *held = nullptr, *right = nullptr;  // the port's, the checkpoint's
  std::string stored;
};

struct Told {
  Held held = Held::kUnknown;
  std::string what;
};

// The checkpoint's tensor of a parameter path, under its own name or without the outermost part.
const Array* stored_of(const Site& site, const std::string& path, std::string& name) {
  const auto take = [&](const std::string& candidate) {
    name = candidate;
    return site.stored(candidate);
  };
  if (const Array* found = take(path)) return found;
  const size_t dot = path.find('.');
  if (dot != std::string::npos) {
    if (const Array* found = take(path.substr(dot + 1))) return found;
  }
  return take("model." + path);
}

// The weights of the chain that are not what the checkpoint has under their names.
std::vector<Weight> wrong_weights(const Site& site) {
  std::vector<Weight> found;
  for (const SiteStep& step : site.steps) {
    for (const Operand& operand : step.operands) {
      if (operand.kind != Operand::Kind::kWeight) continue;
      Weight weight{&operand, site.weight(operand.name), nullptr, ""};
      weight.right = stored_of(site, operand.name, weight.stored);
      const bool is_comparable = weight.held != nullptr && weight.right != nullptr &&
                                 weight.held->elements() == weight.right->elements();
      if (is_comparable && weight.held->values != weight.right->values) found.push_back(weight);
    }
  }
  return found;
}

bool is_transposed(const Array& held, const Array& right) {
  if (held.rank() != 2 || right.rank() != 2) return false;
  const int64_t rows = held.dim(0), columns = held.dim(1);
  if (rows * columns != right.elements()) return false;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      if (held.row(i)[j] != right.values[static_cast<size_t>(j * rows + i)]) return false;
    }
  }
  return true;
}

// order[i]: which row of `right` row i of `held` is; none where a row is not there.
std::optional<std::vector<int64_t>> row_order(const Array& held, const Array& right) {
  std::vector<int64_t> by_content(static_cast<size_t>(right.rows()));
  std::iota(by_content.begin(), by_content.end(), 0);
  const auto less = [&](const double* a, const double* b) {
    return std::lexicographical_compare(a, a + right.width(), b, b + right.width());
  };
  std::ranges::sort(by_content,
                    [&](int64_t a, int64_t b) { return less(right.row(a), right.row(b)); });
  std::vector<int64_t> order;
  for (int64_t i = 0; i < held.rows(); ++i) {
    const auto at = std::lower_bound(
        by_content.begin(), by_content.end(), i,
        [&](int64_t candidate, int64_t row) { return less(right.row(candidate), held.row(row)); });
    if (at == by_content.end() || less(held.row(i), right.row(*at))) return std::nullopt;
    order.push_back(*at);
  }
  return order;
}

bool stays_in_heads(const std::vector<int64_t>& order, int64_t head_dim) {
  if (head_dim <= 1) return false;
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i] / head_dim != static_cast<int64_t>(i) / head_dim) return false;
  }
  return true;
}

std::string order_text(const std::vector<int64_t>& order) {
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(6, order.size()); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : ", ", order[i]);
  }
  return "rows " + text + ", ...";
}

Told tell_name(const Weight& weight, const std::string& other) {
  const Anatomy own = dissect(weight.stored), found = dissect(other);
  Told told{Held::kOtherTensor, other};
  if (found.layer != own.layer && found.inner == own.inner && own.layer >= 0) {
    told.held = Held::kOtherLayer;
  }
  if (found.layer < 0 && own.layer < 0) told.held = Held::kEmbedding;
  return told;
}

Told tell(const Site& site, const Weight& weight) {
  const Array &held = *weight.held, &right = *weight.right;
  if (std::ranges::all_of(held.values, [](double x) { return x == 0; })) {
    return {Held::kZero, "zeros"};
  }
  for (const std::string& name : site.stored_names()) {
    if (name == weight.stored || site.stored_size(name) != held.elements()) continue;
    if (site.stored(name)->values == held.values) {
      return tell_name(weight, name);
    }
  }
  if (is_transposed(held, right)) return {Held::kTransposed, "it transposed"};
  if (const auto order = row_order(held, right)) {
    const bool inside = stays_in_heads(*order, site.geometry.head_dim);
    return {inside ? Held::kRowsInside : Held::kRowsOfHeads, order_text(*order)};
  }
  const Array reordered = reshaped(right, held.shape);
  double dot = 0, norm = 0;
  for (size_t i = 0; i < held.values.size(); ++i) {
    dot += held.values[i] * reordered.values[i];
    norm += reordered.values[i] * reordered.values[i];
  }
  Array scaled = reordered;
  for (double& x : scaled.values) x *= dot / norm;
  if (norm > 0 && distance(scaled, held) < 1e-3) {
    return {Held::kScaled, fmt::format("{:.6g} times it", dot / norm)};
  }
  return {};
}

// All wrong weights of the chain put right at once: one mistake takes weight and bias together.
std::vector<Finding> held_instead(const Site& site, std::initializer_list<Held> kinds) {
  const std::vector<Weight> wrong = wrong_weights(site);
  Change change;
  for (const Weight& weight : wrong) {
    change.weights.emplace(weight.operand->name, reshaped(*weight.right, weight.held->shape));
  }
  for (const Weight& weight : wrong) {
    const Told told = tell(site, weight);
    if (std::ranges::find(kinds, told.held) == kinds.end()) continue;
    Finding finding;
    finding.what = fmt::format("{} holds {}, the reference has {}", weight.operand->name, told.what,
                               weight.stored);
    finding.change = fmt::format("load {} from {}", weight.operand->name, weight.stored);
    finding.measured = {{weight.operand->name, told.what, weight.stored}};
    return try_change(site, change, std::move(finding));
  }
  return {};
}

template <Held... kKinds>
std::vector<Finding> holds(const Site& site) {
  return held_instead(site, {kKinds...});
}

std::vector<Finding> norm_weight(const Site& site) {
  if (site.find("rms_norm") == nullptr && site.find("layer_norm") == nullptr) return {};
  return held_instead(site, {Held::kOtherTensor});
}

// Of gate and up, or of a fused pair's halves, one in the place of the other.
bool is_of_gated_block(const Site& site) {
  const std::string_view path = site.path;
  return path.find("gate") != path.npos || path.find("up_proj") != path.npos ||
         path.find("expert") != path.npos;
}

std::vector<Finding> other_projection(const Site& site) {
  const bool is_norm = site.find("rms_norm") != nullptr || site.find("layer_norm") != nullptr;
  if (is_norm || is_of_gated_block(site)) return {};
  return held_instead(site, {Held::kOtherTensor});
}

std::vector<Finding> gate_for_up(const Site& site) {
  if (!is_of_gated_block(site)) return {};
  return held_instead(site, {Held::kOtherTensor});
}

}  // namespace

std::vector<Cause> weight_causes() {
  return {
      {"weight_of_other_norm", 38, "weights of two norms exchanged", "", "rms_norm layer_norm", "",
       norm_weight},
      {"weight_of_other_projection", 28, "weight of another module", "", "*", "", other_projection},
      {"gate_up_exchanged", 47, "gate and up exchanged", "", "*", "", gate_for_up},
      {"weight_of_other_layer", 58, "weight of another layer", "", "*", "",
       holds<Held::kOtherLayer>},
      {"head_is_embedding", 43, "head tied to the embedding, or not", "", "linear embedding", "",
       holds<Held::kEmbedding>},
      {"weight_transposed", 46, "weight transposed", "", "*", "", holds<Held::kTransposed>},
      {"weight_rows_rotary", 2, "rows permuted for the other rotary style", "", "linear", "",
       holds<Held::kRowsInside>},
      {"weight_rows", 29, "rows of the weight in another order", "", "linear", "",
       holds<Held::kRowsOfHeads>},
      {"weight_scaled", 56, "weight without its scale", "", "*", "", holds<Held::kScaled>},
      {"weight_zero", 57, "weight never loaded", "", "*", "", holds<Held::kZero>},
  };
}

}  // namespace lockstep::parity
