// Linear layers: biases, weights that are another's, permuted, transposed, scaled or never loaded.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "fault_kind.h"
#include "tensor/tensor.h"
#include "weight_parts.h"

namespace lockstep::mutants {
namespace {

std::vector<uint32_t> with_bias(const Plant& p) {
  std::vector<uint32_t> found;
  for (const uint32_t n : p.sites.ops("linear")) {
    if (p.edit.node(n).inputs.size() > 2 && n != p.sites.head) found.push_back(n);
  }
  return found;
}

std::vector<uint32_t> layer_linears(const Plant& p, int64_t at_least = 16) {
  std::vector<uint32_t> found;
  for (const uint32_t n : p.sites.ops("linear")) {
    const Shape& weight = p.sites.input_type(n, 1).shape;
    if (p.sites.layer_of(n) >= 0 && weight[0].count >= at_least && weight[1].count >= at_least) {
      found.push_back(n);
    }
  }
  return found;
}

bool bias_missing(Plant& p) {
  const std::vector<uint32_t> sites = with_bias(p);
  if (sites.empty() || p.magnitude != 0) return false;
  const uint32_t n = p.pick(sites);
  p.edit.drop_input(n, 2);
  p.note = fmt::format("{} without bias", p.sites.path(n));
  return true;
}

bool bias_times(Plant& p) {
  const std::vector<uint32_t> sites = with_bias(p);
  if (sites.empty()) return false;
  const uint32_t n = p.pick(sites);
  const double factor = p.by_magnitude(2.0, -1.0, 4.0);
  p.edit.change_input(n, 2, [factor](std::vector<double>& b, const View&) {
    for (double& x : b) x *= factor;
  });
  p.note = fmt::format("{}: {} times the bias", p.sites.path(n), factor);
  return true;
}

bool exchanged(Plant& p) {
  std::vector<std::pair<uint32_t, uint32_t>> pairs;
  for (const AttentionSite& site : p.sites.attentions) {
    const std::optional<uint32_t> all[] = {site.q_proj, site.k_proj, site.v_proj};
    for (int i = 0; i < 3; ++i) {
      const auto a = all[i], b = all[(i + 1) % 3];
      if (a && b && a != b && p.sites.input_type(*a, 1) == p.sites.input_type(*b, 1)) {
        pairs.emplace_back(*a, *b);
      }
    }
  }
  if (pairs.empty() || p.magnitude == 2) return false;
  const auto [a, b] = p.pick(pairs);
  if (p.magnitude == 0 ? !exchange_weights(p, a, b) : !take_weights(p, a, b)) return false;
  p.note = fmt::format("{} has the weight of {}{}", p.sites.path(a), p.sites.path(b),
                       p.magnitude == 0 ? ", and the reverse" : "");
  return true;
}

// Slices of a fused projection that are taken in another order.
bool split_order(Plant& p) {
  std::vector<std::pair<uint32_t, uint32_t>> pairs;
  const std::vector<uint32_t> slices = p.sites.ops("slice");
  for (const uint32_t a : slices) {
    for (const uint32_t b : slices) {
      if (a < b && p.edit.node(a).inputs[0] == p.edit.node(b).inputs[0] &&
          p.graph().type({a, 0}) == p.graph().type({b, 0}) &&
          p.sites.made_by({a, 0}, "linear", {"slice", "reshape"})) {
        pairs.emplace_back(a, b);
      }
    }
  }
  if (pairs.empty() || p.magnitude != 0) return false;
  const auto [a, b] = p.pick(pairs);
  const Attrs of_a = p.edit.node(a).attrs, of_b = p.edit.node(b).attrs;
  const auto bounds = [](const Attrs& attrs) {
    const std::span<const int64_t> all = attrs.get_ints("bounds");
    return std::vector<int64_t>(all.begin(), all.end());
  };
  p.edit.set(a, "bounds", bounds(of_b));
  p.edit.set(b, "bounds", bounds(of_a));
  p.note = fmt::format("pieces of {} exchanged", p.sites.path(a));
  return true;
}

// Rows of a fused weight in another layout, of a plain one by channel instead of by head.
bool layout(Plant& p) {
  std::vector<AttentionSite> sites;
  for (const AttentionSite& site : p.sites.attentions) {
    if (site.q_proj && !site.is_latent && site.n_heads > 1) sites.push_back(site);
  }
  if (sites.empty()) return false;
  const AttentionSite site = p.pick(sites);
  const bool fused = site.q_proj == site.k_proj;
  if (fused && p.magnitude == 2) return false;
  const uint32_t n = fused || p.magnitude != 1 ? *site.q_proj : *site.v_proj;
  const int64_t rows = p.sites.input_type(n, 1).shape[0].count;
  const int64_t groups = fused              ? (p.magnitude == 0 ? 3 : site.n_kv_heads)
                         : p.magnitude == 2 ? 2
                                            : rows / site.head_dim;
  if (groups < 2 || rows % groups != 0) return false;
  // [groups, rows / groups] read as [rows / groups, groups].
  std::vector<int64_t> order;
  for (int64_t r = 0; r < rows; ++r) order.push_back(r % groups * (rows / groups) + r / groups);
  if (fused) {
    // Whole heads, not channels, change places.
    const int64_t unit = site.head_dim, units = rows / unit;
    if (units % groups != 0 || units == groups) return false;
    order.clear();
    for (int64_t u = 0; u < units; ++u) {
      const int64_t from = u % groups * (units / groups) + u / groups;
      for (int64_t i = 0; i < unit; ++i) order.push_back(from * unit + i);
    }
  }
  if (!permute_rows(p, n, order)) return false;
  p.note = fmt::format("rows of {} in {} runs", p.sites.path(n), groups);
  return true;
}

// As checkpoints are permuted for the other rotary style, inside each head.
bool rope_permutation(Plant& p) {
  std::vector<AttentionSite> sites;
  for (const AttentionSite& site : p.sites.attentions) {
    if (site.q_proj && site.k_proj && site.q_proj != site.k_proj && site.q_rope)
      sites.push_back(site);
  }
  if (sites.empty() || p.magnitude == 2) return false;
  const AttentionSite site = p.pick(sites);
  const size_t n_sides = p.magnitude == 0 ? 1 : 2;
  for (size_t side = 0; side < n_sides; ++side) {
    const uint32_t n = side == 0 ? *site.q_proj : *site.k_proj;
    const int64_t rows = p.sites.input_type(n, 1).shape[0].count, half = site.head_dim / 2;
    std::vector<int64_t> order;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t i = r % site.head_dim;
      order.push_back(r - i + i / 2 + (i % 2) * half);
    }
    if (!permute_rows(p, n, order)) return false;
  }
  p.note = fmt::format("rows of {} permuted for the other style", n_sides == 1 ? "q" : "q and k");
  return true;
}

// Rows concatenated in another order than the ranks that held them.
bool shard_order(Plant& p) {
  const std::vector<uint32_t> sites = layer_linears(p, 32);
  if (sites.empty()) return false;
  const uint32_t n = p.pick(sites);
  const int64_t rows = p.sites.input_type(n, 1).shape[0].count;
  const int64_t ranks = p.by_magnitude(2, 4, 8);
  if (rows % ranks != 0) return false;
  std::vector<int64_t> order(static_cast<size_t>(rows));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::rotate(order, order.begin() + rows / ranks);
  if (!permute_rows(p, n, order)) return false;
  p.note = fmt::format("{}: {} shards, the first one last", p.sites.path(n), ranks);
  return true;
}

bool transposed(Plant& p) {
  std::vector<uint32_t> sites;
  for (const uint32_t n : layer_linears(p)) {
    const Shape& shape = p.sites.input_type(n, 1).shape;
    const Parameter* weight = p.edit.parameter_of(n, 1);
    if (shape[0] == shape[1] && weight != nullptr && weight->parts.size() <= 1) sites.push_back(n);
  }
  if (sites.empty() || p.magnitude != 0) return false;
  const uint32_t n = p.pick(sites);
  std::vector<StoredPart> parts = parts_of(p, n);
  parts[0].transpose = !parts[0].transpose;
  p.edit.load(n, 1, parts);
  p.note = fmt::format("{} transposed", p.sites.path(n));
  return true;
}

bool zero(Plant& p) {
  const std::vector<uint32_t> sites = layer_linears(p);
  if (sites.empty() || p.magnitude != 0) return false;
  const uint32_t n = p.pick(sites);
  p.edit.change_input(n, 1, [](std::vector<double>& w, const View&) { std::ranges::fill(w, 0.0); });
  p.note = fmt::format("{} is zero", p.sites.path(n));
  return true;
}

bool of_layer(Plant& p) {
  std::vector<std::pair<uint32_t, uint32_t>> pairs;
  const std::vector<uint32_t> sites = layer_linears(p);
  for (const uint32_t a : sites) {
    for (const uint32_t b : sites) {
      const int i = p.sites.layer_of(a), j = p.sites.layer_of(b);
      if (std::abs(i - j) < 1) continue;
      const std::string_view x = p.sites.path(a), y = p.sites.path(b);
      const std::string& from = p.sites.layers[static_cast<size_t>(i)];
      const std::string& to = p.sites.layers[static_cast<size_t>(j)];
      if (x.substr(from.size()) == y.substr(to.size())) pairs.emplace_back(a, b);
    }
  }
  if (pairs.empty() || p.magnitude != 0) return false;
  const auto [a, b] = p.pick(pairs);
  if (!take_weights(p, a, b)) return false;
  p.note = fmt::format("{} has the weight of {}", p.sites.path(a), p.sites.path(b));
  return true;
}

bool block_scale(Plant& p) {
  const std::vector<uint32_t> sites = layer_linears(p, 32);
  if (sites.empty()) return false;
  const uint32_t n = p.pick(sites);
  // All of it twice, all of it 1/448, or one block of 32 x 32 without its scale.
  const int variant = p.magnitude;
  p.edit.change_input(n, 1, [variant](std::vector<double>& w, const View& view) {
    const auto columns = static_cast<size_t>(view.dim(1));
    for (size_t i = 0; i < w.size(); ++i) {
      const bool in_block = i / columns < 32 && i % columns < 32;
      if (variant == 0) w[i] *= 2;
      if (variant == 1) w[i] /= 512;
      if (variant == 2 && in_block) w[i] *= 4;
    }
  });
  p.note = fmt::format("{}: {}", p.sites.path(n),
                       p.by_magnitude("weight x 2", "weight / 512", "one block of 32 x 32, x 4"));
  return true;
}

bool partial_sum(Plant& p) {
  std::vector<uint32_t> sites;
  for (const AttentionSite& site : p.sites.attentions) {
    if (site.o_proj) sites.push_back(*site.o_proj);
  }
  for (const MlpSite& site : p.sites.mlps) {
    if (site.down) sites.push_back(*site.down);
  }
  if (sites.empty()) return false;
  const uint32_t n = p.pick(sites);
  const int variant = p.magnitude;
  p.edit.wrap(n, [variant](const OpCall& call, void (*sound)(const OpCall&)) {
    if (variant == 0) {
      sound(call);
      std::vector<double> y = read_elements(call.outputs[0]);
      for (double& v : y) v *= 2;
      write_elements(call.outputs[0], y);
      return;
    }
    // What one of two ranks, or all but one of four, add up.
    std::vector<View> inputs(call.inputs.begin(), call.inputs.end());
    std::vector<double> x = read_elements(inputs[0]);
    const auto width = static_cast<size_t>(inputs[0].dim(-1));
    const size_t kept = variant == 1 ? width / 2 : width - width / 4;
    for (size_t i = 0; i < x.size(); ++i) {
      if (i % width >= kept) x[i] = 0;
    }
    const Tensor copy = Tensor::copy_of(inputs[0]);
    write_elements(copy.view(), x);
    inputs[0] = copy.view();
    sound({inputs, call.outputs, call.attrs, call.context});
  });
  p.note = fmt::format("{}: {}", p.sites.path(n),
                       p.by_magnitude("summed twice", "one of two ranks", "three of four ranks"));
  return true;
}

bool low_precision(Plant& p) {
  std::vector<uint32_t> sites = p.sites.layer_adds;
  for (const uint32_t n : p.sites.norms) sites.push_back(n);
  if (sites.empty() || p.magnitude == 2) return false;
  const uint32_t n = p.pick(sites);
  const bool half = p.magnitude == 0;
  p.edit.change_output(n, [half](std::vector<double>& y, const View&) {
    for (double& v : y) {
      const auto f = static_cast<float>(v);
      v = half ? float16_to_float(float_to_float16(f)) : bfloat16_to_float(float_to_bfloat16(f));
    }
  });
  p.note = fmt::format("{} rounded to {}", p.sites.path(n), half ? "float16" : "bfloat16");
  return true;
}

constexpr FaultKind kKinds[] = {
    {"bias_missing", "30 31", bias_missing},
    {"bias_times", "30 31", bias_times},
    {"projections_exchanged", "28 47 58", exchanged},
    {"split_order", "28 47 29", split_order},
    {"weight_layout", "29 59 2", layout},
    {"weight_rope_permutation", "2 29", rope_permutation},
    {"weight_shard_order", "59 29", shard_order},
    {"weight_transposed", "46", transposed},
    {"weight_zero", "57", zero},
    {"weight_of_layer", "58", of_layer},
    {"weight_block_scale", "56 60", block_scale},
    {"partial_sum", "60 56", partial_sum},
    {"early_rounding", "74 37", low_precision},
};

}  // namespace

std::span<const FaultKind> projection_kinds() { return kKinds; }

}  // namespace lockstep::mutants
