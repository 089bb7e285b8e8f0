// Rotary embeddings: style, frequencies, width, positions, who is rotated.
#include <fmt/format.h>

#include <cmath>

#include "fault_kind.h"

namespace lockstep::mutants {
namespace {

using Ropes = std::vector<uint32_t>;

// The rotations of one attention, q's first.
std::vector<Ropes> rotated(const Plant& p) {
  std::vector<Ropes> found;
  for (const AttentionSite& site : p.sites.attentions) {
    if (site.q_rope && site.k_rope) found.push_back({*site.q_rope, *site.k_rope});
  }
  return found;
}

std::optional<Ropes> pick_rotated(Plant& p) {
  const std::vector<Ropes> all = rotated(p);
  if (all.empty()) return std::nullopt;
  return p.pick(all);
}

// The rotary embedding whose frequencies a fault changes: that of all layers, or, by the seed, one
// of the port's own for a single layer.
std::optional<uint32_t> pick_tables(Plant& p) {
  const std::optional<Ropes> ropes = pick_rotated(p);
  if (!ropes) return std::nullopt;
  const std::optional<uint32_t> shared =
      p.sites.made_by(p.edit.node((*ropes)[0]).inputs[1], "rotary_embedding",
                      {"slice", "concat", "reshape", "cast"});
  if (!shared) return std::nullopt;
  const bool is_direct = p.edit.node((*ropes)[0]).inputs[1].node == *shared;
  if (!is_direct || p.coin()) return shared;
  const uint32_t own = p.edit.clone(*shared);
  for (const uint32_t rope : *ropes) {
    p.edit.rewire(rope, 1, {own, 0});
    p.edit.rewire(rope, 2, {own, 1});
  }
  return own;
}

std::vector<double> frequencies(const Plant& p, uint32_t tables) {
  const std::span<const double> values = p.edit.node(tables).attrs.get_floats("inv_freq");
  return {values.begin(), values.end()};
}

void set_frequencies(Plant& p, uint32_t tables, std::vector<double> values) {
  for (double& value : values) value = static_cast<float>(value);
  p.edit.set(tables, "inv_freq", std::move(values));
}

// The frequency of pair i is base^(-i / n): what scaling leaves of it, in the fastest pairs.
bool is_geometric(const std::vector<double>& values) {
  for (size_t i = 2; i < values.size(); ++i) {
    if (std::abs(values[i] / (values[i - 1] * values[1] / values[0]) - 1) > 1e-3) return false;
  }
  return values.size() > 2;
}

bool style(Plant& p) {
  const auto ropes = pick_rotated(p);
  if (!ropes) return false;
  const std::string now = p.edit.node((*ropes)[0]).attrs.get_string("style");
  // Tables of the other order go with the other style.
  const char* other = now == "half" ? "interleaved_by_half" : nullptr;
  if (now == "interleaved_to_half") other = "half";
  if (now == "interleaved_by_half") other = "half";
  if (other == nullptr) {
    const uint32_t shared = p.edit.node((*ropes)[0]).inputs[1].node;
    if (!p.sites.is_op(shared, "rotary_embedding")) return false;
    const uint32_t own = p.edit.clone(shared);
    p.edit.set(own, "layout", std::string("half"));
    for (const uint32_t rope : *ropes) {
      p.edit.rewire(rope, 1, {own, 0});
      p.edit.rewire(rope, 2, {own, 1});
    }
    other = "half";
  }
  const size_t n = p.magnitude == 0 ? 1 : 2;  // q alone, or both
  for (size_t i = 0; i < n; ++i) p.edit.set((*ropes)[i], "style", std::string(other));
  p.note = fmt::format("style {} for {}", other, now);
  return true;
}

bool theta(Plant& p) {
  const auto tables = pick_tables(p);
  if (!tables) return false;
  std::vector<double> values = frequencies(p, *tables);
  if (!is_geometric(values)) return false;
  const double factor = p.by_magnitude(1.1, 10.0, 0.02);
  const auto n = static_cast<double>(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] *= std::pow(factor, -static_cast<double>(i) / n);
  }
  set_frequencies(p, *tables, values);
  p.note = fmt::format("theta x {}", factor);
  return true;
}

bool exponent_width(Plant& p) {
  const auto tables = pick_tables(p);
  if (!tables) return false;
  std::vector<double> values = frequencies(p, *tables);
  if (!is_geometric(values)) return false;
  const double factor = p.by_magnitude(0.75, 0.5, 0.25);
  for (double& value : values) value = std::pow(value, factor);
  set_frequencies(p, *tables, values);
  p.note = fmt::format("exponent over {} times the width", 1 / factor);
  return true;
}

bool linear_scaling(Plant& p) {
  const auto tables = pick_tables(p);
  if (!tables) return false;
  std::vector<double> values = frequencies(p, *tables);
  if (!is_geometric(values)) return false;
  const double factor = p.by_magnitude(2.0, 4.0, 8.0);
  for (double& value : values) value /= factor;
  set_frequencies(p, *tables, values);
  p.note = fmt::format("positions divided by {}", factor);
  return true;
}

bool scaling_ignored(Plant& p) {
  const auto tables = pick_tables(p);
  if (!tables) return false;
  std::vector<double> values = frequencies(p, *tables);
  if (is_geometric(values) || values.size() < 3) return false;
  const double ratio = values[1] / values[0];
  for (size_t i = 1; i < values.size(); ++i) values[i] = values[i - 1] * ratio;
  set_frequencies(p, *tables, values);
  p.note = "frequencies as if nothing scaled them";
  return p.magnitude == 0;
}

bool width(Plant& p) {
  const auto ropes = pick_rotated(p);
  if (!ropes) return false;
  const uint32_t shared = p.edit.node((*ropes)[0]).inputs[1].node;
  if (!p.sites.is_op(shared, "rotary_embedding")) return false;
  std::vector<double> values = frequencies(p, shared);
  const auto n = static_cast<int64_t>(values.size());
  const int64_t head = p.sites.input_type((*ropes)[0], 0).shape[-1].count / 2;
  const int64_t wrong = p.by_magnitude(n < head ? head : n * 3 / 4, n / 2, n / 4);
  if (wrong < 1 || wrong == n || !is_geometric(values)) return false;
  // The base is that of the whole width, spread over what is rotated.
  const double base = std::pow(values[0] / values[1], static_cast<double>(n));
  values.resize(static_cast<size_t>(wrong));
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = std::pow(base, -static_cast<double>(i) / static_cast<double>(wrong));
  }
  Attrs attrs = p.edit.node(shared).attrs;
  for (double& value : values) value = static_cast<float>(value);
  attrs.set("inv_freq", values);
  const uint32_t own =
      p.edit.add_op((*ropes)[0], "rotary_embedding", p.edit.node(shared).inputs, attrs);
  for (const uint32_t rope : *ropes) {
    p.edit.rewire(rope, 1, {own, 0});
    p.edit.rewire(rope, 2, {own, 1});
  }
  p.note = fmt::format("{} of {} values turn, for {}", 2 * wrong, 2 * head, 2 * n);
  return true;
}

// Rows of a rotation that stay as they came: of these heads.
void leave_heads(Plant& p, uint32_t rope, int64_t first, int64_t end) {
  p.edit.wrap(rope, [=](const OpCall& call, void (*sound)(const OpCall&)) {
    sound(call);
    const std::vector<double> x = read_elements(call.inputs[0]);
    std::vector<double> y = read_elements(call.outputs[0]);
    const int64_t heads = call.inputs[0].dim(1), width = call.inputs[0].dim(2);
    for (size_t i = 0; i < y.size(); ++i) {
      const int64_t head = static_cast<int64_t>(i) / width % heads;
      if (head >= first && head < end) y[i] = x[i];
    }
    write_elements(call.outputs[0], y);
  });
}

bool some_heads(Plant& p) {
  const auto ropes = pick_rotated(p);
  if (!ropes) return false;
  const int64_t heads = p.sites.input_type((*ropes)[0], 0).shape[1].count;
  const int64_t first = p.by_magnitude(heads - 1, heads / 2, int64_t{1});
  leave_heads(p, (*ropes)[0], first, heads);
  p.note = fmt::format("q heads {} to {} stay as they came", first, heads - 1);
  return true;
}

bool one_side(Plant& p) {
  const auto ropes = pick_rotated(p);
  if (!ropes || p.magnitude == 2) return false;
  const uint32_t rope = (*ropes)[p.magnitude == 0 ? 0 : 1];
  if (p.edit.node(rope).attrs.get_string("style") == "interleaved_to_half") return false;
  p.edit.replace({rope, 0}, p.edit.node(rope).inputs[0]);
  p.note = p.magnitude == 0 ? "q is not rotated" : "k is not rotated";
  return true;
}

bool layer_missing(Plant& p) {
  std::vector<Ropes> all = rotated(p);
  if (all.empty()) return false;
  const size_t n = std::min<size_t>(all.size(), p.by_magnitude(1, 2, 3));
  std::shuffle(all.begin(), all.end(), p.random());
  for (size_t i = 0; i < n; ++i) {
    for (const uint32_t rope : all[i]) {
      if (p.edit.node(rope).attrs.get_string("style") == "interleaved_to_half") return false;
      p.edit.replace({rope, 0}, p.edit.node(rope).inputs[0]);
    }
  }
  p.note = fmt::format("{} layers are not rotated", n);
  return true;
}

bool layer_extra(Plant& p) {
  const std::vector<Ropes> all = rotated(p);
  std::vector<AttentionSite> bare;
  for (const AttentionSite& site : p.sites.attentions) {
    if (!site.q_rope && !site.is_latent) bare.push_back(site);
  }
  if (all.empty() || bare.empty() || p.magnitude != 0) return false;
  const AttentionSite site = p.pick(bare);
  for (size_t i = 0; i < 2; ++i) {
    const Node& model = p.edit.node(all[0][i]);
    const ValueId v = p.edit.node(site.node).inputs[i];
    const uint32_t rope =
        p.edit.add_op(site.node, "rope", {v, model.inputs[1], model.inputs[2]}, model.attrs);
    p.edit.replace(v, {rope, 0}, rope);
  }
  p.note = "a layer without rotation is rotated";
  return true;
}

bool sign(Plant& p) {
  const auto ropes = pick_rotated(p);
  if (!ropes) return false;
  const size_t first = p.magnitude == 1 ? 1 : 0, end = p.magnitude == 0 ? 1 : 2;
  for (size_t i = first; i < end; ++i) {
    p.edit.change_input((*ropes)[i], 2, [](std::vector<double>& sin, const View&) {
      for (double& x : sin) x = -x;
    });
  }
  p.note = "the sine's sign";
  return true;
}

bool cos_for_sin(Plant& p) {
  const auto ropes = pick_rotated(p);
  if (!ropes) return false;
  const size_t first = p.magnitude == 1 ? 1 : 0, end = p.magnitude == 0 ? 1 : 2;
  for (size_t i = first; i < end; ++i) {
    const std::vector<ValueId> in = p.edit.node((*ropes)[i]).inputs;
    p.edit.rewire((*ropes)[i], 1, in[2]);
    p.edit.rewire((*ropes)[i], 2, in[1]);
  }
  p.note = "cosines and sines exchanged";
  return true;
}

bool table_order(Plant& p) {
  const auto ropes = pick_rotated(p);
  if (!ropes || p.magnitude == 2) return false;
  const std::string now = p.edit.node((*ropes)[0]).attrs.get_string("style");
  const char* other = now == "half" ? "interleaved" : now == "interleaved" ? "half" : nullptr;
  if (other == nullptr) return false;
  for (size_t i = 0; i < (p.magnitude == 0 ? 1U : 2U); ++i) {
    p.edit.set((*ropes)[i], "style", std::string(other));
  }
  p.note = fmt::format("style {} on tables in the order of {}", other, now);
  return true;
}

bool offset(Plant& p) {
  const auto tables = pick_tables(p);
  if (!tables) return false;
  const double by = p.by_magnitude(1, -1, 7);
  p.edit.change_input(*tables, 0, [by](std::vector<double>& positions, const View&) {
    for (double& x : positions) x += by;
  });
  p.note = fmt::format("positions {:+}", by);
  return true;
}

bool restart(Plant& p) {
  const auto tables = pick_tables(p);
  const auto rows = p.graph().find_input("@logit_rows");
  if (!tables || !rows) return false;
  const double stuck = p.by_magnitude(0, 1, 5);
  p.edit.change_input(*tables, 0, [stuck](std::vector<double>& positions, const View&) {
    if (positions.size() == 1) positions[0] = stuck;
  });
  p.note = fmt::format("a decoded token stands at {}", stuck);
  return true;
}

bool low_precision(Plant& p) {
  const auto tables = pick_tables(p);
  if (!tables || p.magnitude == 2) return false;
  const bool half = p.magnitude == 0;
  p.edit.wrap(*tables, [half](const OpCall& call, void (*sound)(const OpCall&)) {
    sound(call);
    const auto round = [half](double x) {
      const auto f = static_cast<float>(x);
      return half ? float16_to_float(float_to_float16(f)) : bfloat16_to_float(float_to_bfloat16(f));
    };
    const std::span<const double> inv = call.attrs.get_floats("inv_freq");
    const auto scaling = static_cast<float>(call.attrs.get_float("attention_scaling", 1));
    const bool halves = call.attrs.get_string("layout", "half") == "half";
    const int64_t width = call.outputs[0].dim(1), n = width / 2;
    for (int64_t t = 0; t < call.outputs[0].dim(0); ++t) {
      for (int64_t i = 0; i < width; ++i) {
        const double f = inv[static_cast<size_t>(halves ? i % n : i / 2)];
        const double angle = round(static_cast<float>(call.inputs[0].as<int32_t>()[t]) * round(f));
        call.outputs[0].as<float>()[t * width + i] = static_cast<float>(std::cos(angle)) * scaling;
        call.outputs[1].as<float>()[t * width + i] = static_cast<float>(std::sin(angle)) * scaling;
      }
    }
  });
  p.note = half ? "angles in float16" : "angles in bfloat16";
  return true;
}

bool attention_factor(Plant& p) {
  const auto tables = pick_tables(p);
  if (!tables) return false;
  const double now = p.edit.node(*tables).attrs.get_float("attention_scaling", 1);
  const double wrong =
      now != 1 ? p.by_magnitude(1.0, now * now, now * 1.1) : p.by_magnitude(1.0693, 1.2608, 1.3689);
  p.edit.set(*tables, "attention_scaling", wrong);
  p.note = fmt::format("attention factor {} for {}", wrong, now);
  return true;
}

bool temperature(Plant& p) {
  if (p.sites.attentions.empty()) return false;
  const AttentionSite site = p.pick(p.sites.attentions);
  if (site.is_latent) return false;
  const uint32_t maker = p.graph().storage(p.edit.node(site.node).inputs[0]).node;
  const double c = p.by_magnitude(0.02, 0.1, 0.3);
  const auto positions = p.graph().find_input("@positions");
  if (!positions || !p.sites.is_op(maker, "rope")) return false;
  p.edit.change_input(site.node, 0, [c](std::vector<double>& q, const View& view) {
    const auto tokens = static_cast<size_t>(view.dim(0));
    const size_t width = q.size() / tokens;
    for (size_t i = 0; tokens > 1 && i < q.size(); ++i) {
      q[i] *= 1 + c * std::log(std::floor(static_cast<double>(i / width + 1) / 8) + 1);
    }
  });
  p.note = fmt::format("queries times 1 + {} log(floor((t + 1) / 8) + 1)", c);
  return true;
}

constexpr FaultKind kKinds[] = {
    {"rope_style", "1", style},
    {"rope_theta", "3", theta},
    {"rope_width", "4 5", width},
    {"rope_exponent_width", "5 3", exponent_width},
    {"rope_some_heads", "6", some_heads},
    {"rope_one_side", "6 7", one_side},
    {"rope_layers_missing", "7", layer_missing},
    {"rope_layer_extra", "7", layer_extra},
    {"rope_sign", "8", sign},
    {"rope_table_order", "8", table_order},
    {"rope_cos_for_sin", "75 8", cos_for_sin},
    {"rope_offset", "9", offset},
    {"rope_position_stuck", "10", restart},
    {"rope_low_precision", "11 74", low_precision},
    {"rope_linear_scaling", "12", linear_scaling},
    {"rope_scaling_ignored", "12 3", scaling_ignored},
    {"rope_attention_factor", "13", attention_factor},
    {"attention_temperature", "73", temperature},
};

}  // namespace

std::span<const FaultKind> rotary_kinds() { return kKinds; }

}  // namespace lockstep::mutants
