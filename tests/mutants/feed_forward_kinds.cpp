// Feed-forward blocks, experts and the routers that choose them.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "fault_kind.h"
#include "weight_parts.h"

namespace lockstep::mutants {
namespace {

std::vector<MlpSite> gated(const Plant& p) {
  std::vector<MlpSite> found;
  for (const MlpSite& site : p.sites.mlps) {
    if (site.mul) found.push_back(site);
  }
  return found;
}

std::string other_function(const Plant& p, const std::string& now) {
  // From the one that is nearest to the one that is furthest.
  const bool is_gelu = now.starts_with("gelu") && now != "gelu";
  if (is_gelu) return p.by_magnitude("gelu", "quick_gelu", "silu");
  if (now == "gelu") return p.by_magnitude("gelu_pytorch_tanh", "quick_gelu", "relu");
  if (now == "relu") return p.by_magnitude("gelu", "silu", "relu2");
  return p.by_magnitude("quick_gelu", "gelu", "relu");
}

bool activation(Plant& p) {
  if (p.sites.mlps.empty()) return false;
  const uint32_t n = p.pick(p.sites.mlps).activation;
  const std::string now = p.edit.node(n).attrs.get_string("fn");
  const std::string other = other_function(p, now);
  p.edit.set(n, "fn", other);
  p.note = fmt::format("{} for {}", other, now);
  return true;
}

bool experts_activation(Plant& p) {
  const std::vector<uint32_t> sites = p.sites.ops("experts");
  if (sites.empty()) return false;
  const uint32_t n = p.pick(sites);
  const std::string now = p.edit.node(n).attrs.get_string("fn");
  const std::string other =
      now == "quick_gelu" ? p.by_magnitude("gelu", "silu", "relu") : other_function(p, now);
  p.edit.set(n, "fn", other);
  p.note = fmt::format("{} for {}", other, now);
  return true;
}

bool gate_up_exchanged(Plant& p) {
  std::vector<MlpSite> sites;
  for (const MlpSite& site : gated(p)) {
    if (site.gate != site.up) sites.push_back(site);
  }
  if (sites.empty() || p.magnitude != 0) return false;
  const MlpSite site = p.pick(sites);
  if (!exchange_weights(p, *site.gate, *site.up)) return false;
  p.note = fmt::format("{} and {} have each other's weight", p.sites.path(*site.gate),
                       p.sites.path(*site.up));
  return true;
}

// One weight of gate and up: its halves exchanged, or read as even and odd rows.
bool gate_up_fused(Plant& p) {
  std::vector<uint32_t> sites;
  for (const MlpSite& site : gated(p)) {
    if (site.gate == site.up) sites.push_back(*site.gate);
  }
  if (sites.empty() || p.magnitude == 2) return false;
  const uint32_t n = p.pick(sites);
  const int64_t rows = p.sites.input_type(n, 1).shape[0].count, half = rows / 2;
  std::vector<int64_t> order;
  for (int64_t r = 0; r < rows; ++r) {
    order.push_back(p.magnitude == 0 ? (r + half) % rows : r < half ? 2 * r : 2 * (r - half) + 1);
  }
  if (!permute_rows(p, n, order)) return false;
  p.note = p.magnitude == 0 ? "gate and up exchanged" : "gate and up taken as even and odd rows";
  return true;
}

bool experts_order(Plant& p) {
  const std::vector<uint32_t> sites = p.sites.ops("experts");
  if (sites.empty() || p.magnitude == 2) return false;
  const uint32_t n = p.pick(sites);
  if (p.magnitude == 0) {
    const std::string_view now = p.edit.node(n).attrs.get_string("order", "halves");
    p.edit.set(n, "order", std::string(now == "halves" ? "interleaved" : "halves"));
    p.note = "gate and up of the experts in the other order";
    return true;
  }
  p.edit.change_input(n, 3, [](std::vector<double>& w, const View& view) {
    const auto size = static_cast<size_t>(view.dim(1) * view.dim(2));
    for (size_t e = 0; e < w.size(); e += size) {
      const auto first = w.begin() + static_cast<ptrdiff_t>(e);
      std::rotate(first, first + static_cast<ptrdiff_t>(size / 2),
                  first + static_cast<ptrdiff_t>(size));
    }
  });
  p.note = "gate and up of the experts exchanged";
  return p.edit.node(n).attrs.get_string("order", "halves") == "halves";
}

bool clamp(Plant& p) {
  const std::vector<uint32_t> sites = p.sites.ops("experts");
  if (sites.empty()) return false;
  const uint32_t n = p.pick(sites);
  const bool has_limit = p.edit.node(n).attrs.has("limit");
  const double limit =
      has_limit ? p.by_magnitude(double{INFINITY}, 3.5, 1.0) : p.by_magnitude(7.0, 1.0, 0.25);
  p.edit.set(n, "limit", limit);
  p.note = fmt::format("gate and up limited to {}", limit);
  return true;
}

bool up_offset(Plant& p) {
  const std::vector<uint32_t> sites = p.sites.ops("experts");
  if (sites.empty() || p.magnitude != 0) return false;
  const uint32_t n = p.pick(sites);
  const double now = p.edit.node(n).attrs.get_float("up_offset", 0);
  p.edit.set(n, "up_offset", now == 0 ? 1.0 : 0.0);
  p.note = now == 0 ? "up + 1 for up" : "up for up + 1";
  return true;
}

bool up_ignored(Plant& p) {
  const std::vector<MlpSite> sites = gated(p);
  if (sites.empty() || p.magnitude != 0) return false;
  const MlpSite site = p.pick(sites);
  p.edit.rewire(*site.down, 0, {site.activation, 0});
  p.note = "act(gate) alone goes down";
  return true;
}

// A gate of one number a token, on the shared expert.
bool shared_gate_ignored(Plant& p) {
  std::vector<uint32_t> sites;
  for (const uint32_t n : p.sites.ops("elementwise")) {
    if (p.sites.is_elementwise(n, "mul") && p.sites.input_type(n, 1).shape[-1] == Dim(1)) {
      sites.push_back(n);
    }
  }
  if (sites.empty() || p.magnitude != 0) return false;
  const uint32_t n = p.pick(sites);
  p.edit.replace({n, 0}, p.edit.node(n).inputs[0]);
  p.note = "the shared expert's gate is ignored";
  return true;
}

bool shared_missing(Plant& p) {
  std::vector<uint32_t> sites;
  for (const uint32_t n : p.sites.ops("elementwise")) {
    if (!p.sites.is_elementwise(n, "add")) continue;
    if (p.sites.is_op(p.edit.node(n).inputs[0].node, "experts")) sites.push_back(n);
  }
  if (sites.empty() || p.magnitude != 0) return false;
  const uint32_t n = p.pick(sites);
  if (std::ranges::find(p.sites.layer_adds, n) != p.sites.layer_adds.end()) return false;
  p.edit.replace({n, 0}, p.edit.node(n).inputs[0]);
  p.note = "no shared expert";
  return true;
}

std::optional<uint32_t> pick_router(Plant& p) {
  const std::vector<uint32_t> sites = p.sites.ops("router_topk");
  if (sites.empty()) return std::nullopt;
  return p.pick(sites);
}

bool router_scoring(Plant& p) {
  const auto n = pick_router(p);
  if (!n || p.magnitude != 0) return false;
  const std::string now = p.edit.node(*n).attrs.get_string("scoring");
  if (p.edit.node(*n).attrs.get_string("order") == "topk_first") return false;
  p.edit.set(*n, "scoring", std::string(now == "softmax" ? "sigmoid" : "softmax"));
  p.note = fmt::format("scores not by {}", now);
  return true;
}

bool router_norm(Plant& p) {
  const auto n = pick_router(p);
  if (!n || p.magnitude != 0) return false;
  const Attrs& attrs = p.edit.node(*n).attrs;
  if (attrs.get_string("order") == "topk_first") {
    p.edit.set(*n, "order", std::string("scores_first"));
    p.note = "softmax before the choice, not normalised";
    return true;
  }
  const int64_t now = attrs.get_int("normalise");
  p.edit.set(*n, "normalise", 1 - now);
  p.note = now == 0 ? "weights normalised" : "weights not normalised";
  return true;
}

bool router_scaling(Plant& p) {
  const auto n = pick_router(p);
  if (!n) return false;
  const double now = p.edit.node(*n).attrs.get_float("scaling", 1);
  const double wrong =
      now == 1 ? p.by_magnitude(1.1, 2.5, 16.0) : p.by_magnitude(1.0, now * now, 1 / now);
  p.edit.set(*n, "scaling", wrong);
  p.note = fmt::format("scaling {} for {}", wrong, now);
  return true;
}

bool router_bias(Plant& p) {
  const auto n = pick_router(p);
  if (!n || p.magnitude == 2 || p.edit.node(*n).inputs.size() < 2) return false;
  if (p.magnitude == 0) {
    p.edit.drop_input(*n, 1);
    p.note = "no correction bias";
    return true;
  }
  // The weights are those of the biased scores.
  p.edit.wrap(*n, [](const OpCall& call, void (*sound)(const OpCall&)) {
    sound(call);
    const std::vector<double> logits = read_elements(call.inputs[0]),
                              bias = read_elements(call.inputs[1]);
    const std::vector<double> ids = read_elements(call.outputs[0]);
    std::vector<double> weights = read_elements(call.outputs[1]);
    const auto k = static_cast<size_t>(call.outputs[0].dim(1)), experts = bias.size();
    const double scaling = call.attrs.get_float("scaling", 1);
    for (size_t t = 0; t < ids.size() / k; ++t) {
      double sum = 0;
      for (size_t s = t * k; s < (t + 1) * k; ++s) {
        const auto e = static_cast<size_t>(ids[s]);
        weights[s] = 1 / (1 + std::exp(-logits[t * experts + e])) + bias[e];
        sum += weights[s];
      }
      const bool normalise = call.attrs.get_int("normalise") != 0;
      for (size_t s = t * k; s < (t + 1) * k; ++s) weights[s] *= scaling / (normalise ? sum : 1);
    }
    write_elements(call.outputs[1], weights);
  });
  p.note = "the correction bias is in the weights too";
  return p.edit.node(*n).attrs.get_string("scoring") == "sigmoid";
}

bool router_groups(Plant& p) {
  const auto n = pick_router(p);
  if (!n || p.magnitude == 2 || p.edit.node(*n).attrs.get_int("n_group", 1) < 2) return false;
  if (p.magnitude == 0) {
    p.edit.set(*n, "n_group", int64_t{1});
    p.edit.set(*n, "topk_group", int64_t{1});
    p.note = "no groups";
  } else {
    const std::string_view now = p.edit.node(*n).attrs.get_string("group_score", "two_best");
    p.edit.set(*n, "group_score", std::string(now == "best" ? "two_best" : "best"));
    p.note = "groups scored otherwise";
  }
  return true;
}

bool router_permuted(Plant& p) {
  const auto n = pick_router(p);
  if (!n) return false;
  const int variant = p.magnitude;
  p.edit.change_input(*n, 0, [variant](std::vector<double>& logits, const View& view) {
    const auto experts = static_cast<ptrdiff_t>(view.dim(1));
    for (auto row = logits.begin(); row != logits.end(); row += experts) {
      if (variant == 0) std::swap(row[0], row[1]);
      if (variant == 1) std::rotate(row, row + 1, row + experts);
      if (variant == 2) std::reverse(row, row + experts);
    }
  });
  p.note =
      p.by_magnitude("experts 0 and 1 exchanged", "experts numbered from 1", "experts in reverse");
  return true;
}

bool router_low_precision(Plant& p) {
  const auto n = pick_router(p);
  if (!n || p.magnitude != 0) return false;
  p.edit.change_input(*n, 0, [](std::vector<double>& logits, const View&) {
    for (double& x : logits) x = bfloat16_to_float(float_to_bfloat16(static_cast<float>(x)));
  });
  p.note = "router's scores in bfloat16";
  return true;
}

constexpr FaultKind kKinds[] = {
    {"activation", "48", activation},
    {"experts_activation", "48 49", experts_activation},
    {"gate_up_exchanged", "47", gate_up_exchanged},
    {"gate_up_fused", "47 29", gate_up_fused},
    {"experts_gate_up", "47", experts_order},
    {"experts_limit", "49", clamp},
    {"experts_up_offset", "49", up_offset},
    {"gate_alone", "50", up_ignored},
    {"shared_gate_ignored", "50", shared_gate_ignored},
    {"shared_expert_missing", "60 50", shared_missing},
    {"router_scoring", "51", router_scoring},
    {"router_normalise", "51", router_norm},
    {"router_scaling", "53", router_scaling},
    {"router_bias", "52", router_bias},
    {"router_groups", "53", router_groups},
    {"router_permuted", "54", router_permuted},
    {"router_low_precision", "55 74", router_low_precision},
};

}  // namespace

std::span<const FaultKind> feed_forward_kinds() { return kKinds; }

}  // namespace lockstep::mutants
