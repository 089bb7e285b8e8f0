// Convolutions, state-space scans and what they keep from token to token.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fault_kind.h"

namespace lockstep::mutants {
namespace {

std::optional<uint32_t> pick_op(Plant& p, std::initializer_list<std::string_view> ops) {
  std::vector<uint32_t> sites;
  for (const std::string_view op : ops) {
    for (const uint32_t n : p.sites.ops(op)) sites.push_back(n);
  }
  if (sites.empty()) return std::nullopt;
  return p.pick(sites);
}

std::optional<uint32_t> pick_conv(Plant& p) { return pick_op(p, {"causal_conv"}); }

void fill(std::vector<double>& values, const View&) { std::ranges::fill(values, 0.0); }

bool conv_taps(Plant& p) {
  const auto n = pick_conv(p);
  if (!n || p.magnitude == 2) return false;
  const bool shift = p.magnitude == 0;
  p.edit.change_input(*n, 1, [shift](std::vector<double>& w, const View& view) {
    const auto kernel = static_cast<ptrdiff_t>(view.dim(-1));
    for (auto row = w.begin(); row != w.end(); row += kernel) {
      if (shift) {
        std::rotate(row, row + 1, row + kernel);
        row[kernel - 1] = 0;
      } else {
        std::reverse(row, row + kernel);
      }
    }
  });
  p.note =
      shift ? "the convolution looks one token further back" : "the convolution's taps reversed";
  return true;
}

bool conv_bias(Plant& p) {
  const auto n = pick_conv(p);
  if (!n || p.magnitude != 0 || p.edit.node(*n).inputs.size() < 6) return false;
  p.edit.drop_input(*n, 5);
  p.note = "the convolution without bias";
  return true;
}

bool conv_activation(Plant& p) {
  const auto n = pick_conv(p);
  if (!n || p.magnitude == 2) return false;
  const std::vector<uint32_t> readers = p.sites.readers({*n, 0});
  const bool has_own = readers.size() == 1 && p.sites.is_op(readers[0], "activation");
  if (!has_own) return false;
  if (p.magnitude == 0) {
    p.edit.replace({readers[0], 0}, p.edit.node(readers[0]).inputs[0]);
    p.note = "no activation behind the convolution";
  } else {
    p.edit.set(readers[0], "fn", std::string("gelu"));
    p.note = "gelu behind the convolution";
  }
  return true;
}

bool conv_state(Plant& p) {
  const auto n = pick_conv(p);
  if (!n || p.magnitude == 2) return false;
  const bool forget = p.magnitude == 0;
  p.edit.change_state(*n, 4, [forget](std::vector<double>& state, const View& view) {
    const auto window = static_cast<ptrdiff_t>(view.dim(-1));
    for (auto row = state.begin(); row != state.end(); row += window) {
      if (forget) {
        std::fill(row, row + window, 0.0);
      } else {
        std::rotate(row, row + 1, row + window);
      }
    }
  });
  p.note = forget ? "the convolution forgets before a decoded token" : "its state is one token off";
  return true;
}

struct Scan {
  uint32_t node;
  std::optional<size_t> bias;
  std::optional<size_t> skip;
  size_t decay, state;
};

std::optional<Scan> pick_scan(Plant& p) {
  const auto n = pick_op(p, {"selective_scan", "ssd_scan", "gated_delta_rule"});
  if (!n) return std::nullopt;
  if (p.sites.is_op(*n, "selective_scan")) return Scan{*n, std::nullopt, 5, 4, 8};
  if (p.sites.is_op(*n, "ssd_scan")) return Scan{*n, 6, 5, 4, 9};
  return Scan{*n, 6, std::nullopt, 5, 9};
}

bool dt_bias(Plant& p) {
  const auto scan = pick_scan(p);
  if (!scan || !scan->bias || p.magnitude == 2) return false;
  const double factor = p.by_magnitude(0.0, 2.0, 0.0);
  p.edit.change_input(scan->node, *scan->bias, [factor](std::vector<double>& b, const View&) {
    for (double& x : b) x *= factor;
  });
  p.note = fmt::format("dt bias x {}", factor);
  return true;
}

bool dt_clamp(Plant& p) {
  const auto n = pick_op(p, {"ssd_scan"});
  if (!n) return false;
  const double most = p.by_magnitude(0.1, 0.03, 0.01);
  p.edit.set(*n, "dt_max", most);
  p.note = fmt::format("dt at most {}", most);
  return true;
}

bool skip_missing(Plant& p) {
  const auto scan = pick_scan(p);
  if (!scan || !scan->skip || p.magnitude != 0) return false;
  p.edit.change_input(scan->node, *scan->skip, fill);
  p.note = "no D";
  return true;
}

bool decay(Plant& p) {
  const auto scan = pick_scan(p);
  if (!scan || p.magnitude == 2) return false;
  const bool twice = p.magnitude == 0;
  p.edit.change_input(scan->node, scan->decay, [twice](std::vector<double>& a, const View&) {
    // The rate is exp(A_log): taken for the rate itself, it is log(A_log).
    for (double& x : a) x = twice ? x + std::log(2.0) : std::log(std::max(x, 1e-3));
  });
  p.note = twice ? "twice the decay" : "A_log taken for A";
  return true;
}

bool exchanged(Plant& p) {
  const auto scan = pick_scan(p);
  if (!scan || p.magnitude != 0) return false;
  const bool is_delta = p.sites.is_op(scan->node, "gated_delta_rule");
  const size_t a = is_delta ? 0 : 1, b = is_delta ? 1 : 2;
  const std::vector<ValueId> in = p.edit.node(scan->node).inputs;
  if (!(p.graph().type(in[a]) == p.graph().type(in[b]))) return false;
  p.edit.rewire(scan->node, a, in[b]);
  p.edit.rewire(scan->node, b, in[a]);
  p.note = is_delta ? "q and k exchanged" : "B and C exchanged";
  return true;
}

bool scan_state(Plant& p) {
  const auto scan = pick_scan(p);
  if (!scan) return false;
  const int variant = p.magnitude;
  p.edit.change_state(scan->node, scan->state, [variant](std::vector<double>& state, const View&) {
    for (double& x : state) {
      if (variant == 0) x = bfloat16_to_float(float_to_bfloat16(static_cast<float>(x)));
      if (variant == 1) x = 0;
      if (variant == 2) x *= 0.5;
    }
  });
  p.note = p.by_magnitude("the state in bfloat16", "the state forgotten", "half the state");
  return true;
}

constexpr FaultKind kKinds[] = {
    {"conv_taps", "64", conv_taps},
    {"conv_bias", "30", conv_bias},
    {"conv_activation", "48", conv_activation},
    {"conv_state", "64", conv_state},
    {"ssm_dt_bias", "65 30", dt_bias},
    {"ssm_dt_clamp", "65", dt_clamp},
    {"ssm_skip_missing", "65 57", skip_missing},
    {"ssm_decay", "65", decay},
    {"ssm_exchanged", "28", exchanged},
    {"ssm_state", "64", scan_state},
};

}  // namespace

std::span<const FaultKind> state_kinds() { return kKinds; }

}  // namespace lockstep::mutants
