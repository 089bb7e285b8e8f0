// Norms: epsilon, weights, kind, order, precision, place.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fault_kind.h"

namespace lockstep::mutants {
namespace {

std::vector<uint32_t> all_norms(const Plant& p) {
  std::vector<uint32_t> found = p.sites.ops("rms_norm");
  const std::vector<uint32_t> others = p.sites.ops("layer_norm");
  found.insert(found.end(), others.begin(), others.end());
  return found;
}

bool eps(Plant& p) {
  const std::vector<uint32_t> norms = all_norms(p);
  if (norms.empty()) return false;
  const uint32_t n = p.pick(norms);
  const double now = p.edit.node(n).attrs.get_float("eps");
  const double wrong = p.by_magnitude(now * 10, 1e-3, 1e-2);
  p.edit.set(n, "eps", wrong);
  p.note = fmt::format("eps {} for {}", wrong, now);
  return true;
}

// What a norm computes instead: y of x, row by row, before weight and bias.
using RowNorm = std::function<void(std::vector<double>& row, double eps)>;

void compute(const OpCall& call, const RowNorm& norm, bool round_weight = false) {
  const std::vector<double> x = read_elements(call.inputs[0]), w = read_elements(call.inputs[1]);
  const std::vector<double> b =
      call.inputs.size() > 2 ? read_elements(call.inputs[2]) : std::vector<double>();
  const auto width = static_cast<size_t>(call.inputs[0].dim(-1));
  const double offset = call.attrs.get_float("weight_offset", 0);
  std::vector<double> out(x.size());
  for (size_t begin = 0; begin < x.size(); begin += width) {
    std::vector<double> row(x.begin() + static_cast<ptrdiff_t>(begin),
                            x.begin() + static_cast<ptrdiff_t>(begin + width));
    norm(row, call.attrs.get_float("eps"));
    for (size_t i = 0; i < width; ++i) {
      double weight = w[(begin + i) % w.size()] + offset;
      if (round_weight) weight = bfloat16_to_float(float_to_bfloat16(static_cast<float>(weight)));
      out[begin + i] = row[i] * weight + (b.empty() ? 0 : b[i]);
    }
  }
  write_elements(call.outputs[0], out);
}

double mean_square(const std::vector<double>& row) {
  double sum = 0;
  for (const double x : row) sum += x * x;
  return sum / static_cast<double>(row.size());
}

void centre(std::vector<double>& row) {
  double mean = 0;
  for (const double x : row) mean += x / static_cast<double>(row.size());
  for (double& x : row) x -= mean;
}

void divide(std::vector<double>& row, double by) {
  for (double& x : row) x /= by;
}

bool eps_outside(Plant& p) {
  const std::vector<uint32_t> norms = all_norms(p);
  if (norms.empty() || p.magnitude != 0) return false;
  const uint32_t n = p.pick(norms);
  const bool centred = p.sites.is_op(n, "layer_norm");
  p.edit.wrap(n, [centred](const OpCall& call, void (*)(const OpCall&)) {
    compute(call, [centred](std::vector<double>& row, double epsilon) {
      if (centred) centre(row);
      divide(row, std::sqrt(mean_square(row)) + epsilon);
    });
  });
  p.note = "eps added to the root";
  return true;
}

bool unit_offset(Plant& p) {
  const std::vector<uint32_t> norms = p.sites.ops("rms_norm");
  if (norms.empty()) return false;
  const uint32_t n = p.pick(norms);
  const double now = p.edit.node(n).attrs.get_float("weight_offset", 0);
  if (p.magnitude != 0 && p.magnitude != 1) return false;
  if (p.magnitude == 0) {
    p.edit.set(n, "weight_offset", now == 0 ? 1.0 : 0.0);
  } else {
    const std::string path(p.sites.path(n));
    const std::string last = path.substr(path.rfind('.') + 1);
    for (const uint32_t other : norms) {
      if (p.sites.path(other).ends_with(last)) {
        p.edit.set(other, "weight_offset", now == 0 ? 1.0 : 0.0);
      }
    }
  }
  p.note = now == 0 ? "1 + w for w" : "w for 1 + w";
  return true;
}

bool mean_kept(Plant& p) {
  const std::vector<uint32_t> norms = p.sites.ops("layer_norm");
  if (norms.empty() || p.magnitude != 0) return false;
  p.edit.wrap(p.pick(norms), [](const OpCall& call, void (*)(const OpCall&)) {
    compute(call, [](std::vector<double>& row, double epsilon) {
      divide(row, std::sqrt(mean_square(row) + epsilon));
    });
  });
  p.note = "the mean is not taken off";
  return true;
}

bool centred(Plant& p) {
  const std::vector<uint32_t> norms = p.sites.ops("rms_norm");
  if (norms.empty() || p.magnitude != 0) return false;
  p.edit.wrap(p.pick(norms), [](const OpCall& call, void (*)(const OpCall&)) {
    compute(call, [](std::vector<double>& row, double epsilon) {
      centre(row);
      divide(row, std::sqrt(mean_square(row) + epsilon));
    });
  });
  p.note = "the mean is taken off";
  return true;
}

bool early_rounding(Plant& p) {
  const std::vector<uint32_t> norms = p.sites.ops("rms_norm");
  if (norms.empty() || p.magnitude == 2) return false;
  const uint32_t n = p.pick(norms);
  if (p.magnitude == 0) {
    // The weight plus its offset, rounded: nothing where there is no offset.
    if (p.edit.node(n).attrs.get_float("weight_offset", 0) == 0) return false;
    p.edit.wrap(n, [](const OpCall& call, void (*)(const OpCall&)) {
      compute(
          call,
          [](std::vector<double>& row, double epsilon) {
            divide(row, std::sqrt(mean_square(row) + epsilon));
          },
          true);
    });
    p.note = "1 + w rounded to bfloat16";
    return true;
  }
  p.edit.wrap(n, [](const OpCall& call, void (*)(const OpCall&)) {
    compute(call, [](std::vector<double>& row, double epsilon) {
      divide(row, std::sqrt(mean_square(row) + epsilon));
      for (double& x : row) x = bfloat16_to_float(float_to_bfloat16(static_cast<float>(x)));
    });
  });
  p.note = "normed values rounded to bfloat16";
  return true;
}

std::vector<StoredPart> whole(const Parameter& parameter, int64_t rows) {
  if (!parameter.parts.empty()) return parameter.parts;
  return {{parameter.stored, 0, rows, false}};
}

// Takes for input `i` of `n` what `other` has there; false where the shapes differ.
bool take_weight(Plant& p, uint32_t n, uint32_t other, size_t i) {
  const Parameter* from = p.edit.parameter_of(other, i);
  const Parameter* to = p.edit.parameter_of(n, i);
  if (from == nullptr || to == nullptr || from == to || from->path == to->path) return false;
  const TensorType& type = p.sites.input_type(other, i);
  if (!(type == p.sites.input_type(n, i))) return false;
  p.edit.load(n, i, whole(*from, type.shape[0].count));
  return true;
}

bool weights_swapped(Plant& p) {
  // Two norms of one layer.
  std::vector<std::pair<uint32_t, uint32_t>> pairs;
  const std::vector<uint32_t> norms = all_norms(p);
  for (const uint32_t a : norms) {
    for (const uint32_t b : norms) {
      if (a < b && p.sites.layer_of(a) >= 0 && p.sites.layer_of(a) == p.sites.layer_of(b) &&
          p.sites.input_type(a, 1) == p.sites.input_type(b, 1)) {
        pairs.emplace_back(a, b);
      }
    }
  }
  if (pairs.empty() || p.magnitude == 2) return false;
  const auto [a, b] = p.pick(pairs);
  const Parameter kept = *p.edit.parameter_of(a, 1);
  if (!take_weight(p, a, b, 1)) return false;
  if (p.magnitude == 1) {
    p.edit.load(b, 1, whole(kept, p.sites.input_type(a, 1).shape[0].count));
  }
  p.note = fmt::format("{} has the weight of {}{}", p.sites.path(a), p.sites.path(b),
                       p.magnitude == 1 ? ", and the reverse" : "");
  return true;
}

bool weight_of_layer(Plant& p) {
  std::vector<std::pair<uint32_t, uint32_t>> pairs;
  const std::vector<uint32_t> norms = all_norms(p);
  for (const uint32_t a : norms) {
    for (const uint32_t b : norms) {
      const int i = p.sites.layer_of(a), j = p.sites.layer_of(b);
      if (i < 0 || j < 0 || i == j) continue;
      const std::string_view x = p.sites.path(a), y = p.sites.path(b);
      if (x.substr(x.rfind('.')) == y.substr(y.rfind('.'))) pairs.emplace_back(a, b);
    }
  }
  if (pairs.empty() || p.magnitude != 0) return false;
  const auto [a, b] = p.pick(pairs);
  if (!take_weight(p, a, b, 1)) return false;
  p.note = fmt::format("{} has the weight of {}", p.sites.path(a), p.sites.path(b));
  return true;
}

bool skipped(Plant& p) {
  const std::vector<uint32_t> norms = p.sites.norms;
  if (norms.empty() || p.magnitude != 0) return false;
  const uint32_t n = p.pick(norms);
  p.edit.replace({n, 0}, p.edit.node(n).inputs[0]);
  p.note = fmt::format("{} is skipped", p.sites.path(n));
  return true;
}

bool bias_missing(Plant& p) {
  std::vector<uint32_t> norms;
  for (const uint32_t n : p.sites.ops("layer_norm")) {
    if (p.edit.node(n).inputs.size() > 2) norms.push_back(n);
  }
  if (norms.empty() || p.magnitude == 2) return false;
  const uint32_t n = p.pick(norms);
  if (p.magnitude == 0) {
    p.edit.drop_input(n, 2);
  } else {
    p.edit.change_input(n, 2, [](std::vector<double>& b, const View&) {
      for (double& x : b) x *= 2;
    });
  }
  p.note = p.magnitude == 0 ? "no bias" : "the bias twice";
  return true;
}

std::vector<AttentionSite> with_head_norms(const Plant& p) {
  std::vector<AttentionSite> found;
  for (const AttentionSite& site : p.sites.attentions) {
    if (site.q_norm && site.k_norm) found.push_back(site);
  }
  return found;
}

bool qk_norm_missing(Plant& p) {
  const std::vector<AttentionSite> sites = with_head_norms(p);
  if (sites.empty()) return false;
  const AttentionSite site = p.pick(sites);
  const auto skip = [&](uint32_t n) { p.edit.replace({n, 0}, p.edit.node(n).inputs[0]); };
  if (p.magnitude != 1) skip(*site.q_norm);
  if (p.magnitude != 0) skip(*site.k_norm);
  p.note = p.by_magnitude("q is not normed", "k is not normed", "neither q nor k is normed");
  return true;
}

// norm(rope(x)) for rope(norm(x)).
bool qk_norm_order(Plant& p) {
  const std::vector<AttentionSite> sites = with_head_norms(p);
  if (sites.empty() || p.magnitude == 2) return false;
  const AttentionSite site = p.pick(sites);
  const auto norm = p.magnitude == 0 ? site.q_norm : site.k_norm;
  const auto rope = p.magnitude == 0 ? site.q_rope : site.k_rope;
  if (!rope || p.edit.node(*rope).inputs[0] != ValueId{*norm, 0}) return false;
  // The norm's place has the rotation of the bare value, the rotation's place its norm.
  const Node rotation = p.edit.node(*rope), sound = p.edit.node(*norm);
  const uint32_t early = p.edit.add_op(
      *rope, "rope", {sound.inputs[0], rotation.inputs[1], rotation.inputs[2]}, rotation.attrs);
  const uint32_t late = p.edit.add_op(*rope, sound.op->name.data(),
                                      {ValueId{early, 0}, sound.inputs[1]}, sound.attrs);
  p.edit.replace({*rope, 0}, {late, 0});
  p.note = "normed after the rotation";
  return true;
}

bool qk_norm_scope(Plant& p) {
  std::vector<uint32_t> norms;
  for (const AttentionSite& site : with_head_norms(p)) {
    if (p.sites.is_op(*site.q_norm, "rms_norm"))
      norms.push_back(p.coin() ? *site.q_norm : *site.k_norm);
  }
  if (norms.empty() || p.magnitude != 0) return false;
  const uint32_t n = p.pick(norms);
  const bool by_head = p.sites.input_type(n, 0).shape.rank() == 3;
  const int64_t head = p.sites.attentions[0].head_dim;
  p.edit.wrap(n, [by_head, head](const OpCall& call, void (*)(const OpCall&)) {
    const std::vector<double> x = read_elements(call.inputs[0]), w = read_elements(call.inputs[1]);
    const auto tokens = static_cast<size_t>(call.inputs[0].dim(0));
    const size_t scope = by_head ? x.size() / tokens : static_cast<size_t>(head);
    const double offset = call.attrs.get_float("weight_offset", 0);
    const double epsilon = call.attrs.get_float("eps");
    std::vector<double> out(x.size());
    for (size_t begin = 0; begin < x.size(); begin += scope) {
      double sum = 0;
      for (size_t i = 0; i < scope; ++i) sum += x[begin + i] * x[begin + i];
      const double root = std::sqrt(sum / static_cast<double>(scope) + epsilon);
      for (size_t i = begin; i < begin + scope; ++i) {
        out[i] = x[i] / root * (w[i % w.size()] + offset);
      }
    }
    write_elements(call.outputs[0], out);
  });
  p.note = by_head ? "normed over all heads" : "normed head by head";
  return true;
}

bool qk_norm_exchanged(Plant& p) {
  const std::vector<AttentionSite> sites = with_head_norms(p);
  if (sites.empty() || p.magnitude != 0) return false;
  const AttentionSite site = p.pick(sites);
  const Parameter kept = *p.edit.parameter_of(*site.q_norm, 1);
  if (!take_weight(p, *site.q_norm, *site.k_norm, 1)) return false;
  p.edit.load(*site.k_norm, 1, whole(kept, p.sites.input_type(*site.q_norm, 1).shape[0].count));
  p.note = "weights of q's and k's norm exchanged";
  return true;
}

constexpr FaultKind kKinds[] = {
    {"norm_eps", "35", eps},
    {"norm_eps_outside", "35", eps_outside},
    {"norm_unit_offset", "34", unit_offset},
    {"norm_mean_kept", "36", mean_kept},
    {"norm_centred", "36", centred},
    {"norm_early_rounding", "37 74", early_rounding},
    {"norm_weights_swapped", "38", weights_swapped},
    {"norm_weight_of_layer", "58 38", weight_of_layer},
    {"norm_skipped", "38", skipped},
    {"norm_bias", "30 36", bias_missing},
    {"qk_norm_missing", "32", qk_norm_missing},
    {"qk_norm_order", "33", qk_norm_order},
    {"qk_norm_scope", "33", qk_norm_scope},
    {"qk_norm_exchanged", "38", qk_norm_exchanged},
};

}  // namespace

std::span<const FaultKind> norm_kinds() { return kKinds; }

}  // namespace lockstep::mutants
