// The stream between layers, what begins it and what ends it: embeddings, positions, residual sums,
// multipliers, the head.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "fault_kind.h"
#include "weight_parts.h"

namespace lockstep::mutants {
namespace {

enum class Place { kEmbedding, kLayer, kLogits };

// Products with a constant, where the stream is.
std::vector<uint32_t> scales(const Plant& p, Place place) {
  std::vector<uint32_t> found;
  for (const uint32_t n : p.sites.ops("elementwise")) {
    const std::string fn = p.edit.node(n).attrs.get_string("fn");
    if (fn != "scale" && fn != "scale_in_type") continue;
    const bool of_embedding =
        p.sites.embedding && p.sites.made_by(p.edit.node(n).inputs[0], "embedding", {"cast"});
    const bool is_late = p.sites.head && n > *p.sites.head;
    const Place here = of_embedding ? Place::kEmbedding : is_late ? Place::kLogits : Place::kLayer;
    if (here == place) found.push_back(n);
  }
  return found;
}

bool change_scale(Plant& p, const std::vector<uint32_t>& sites, const char* what) {
  if (sites.empty()) return false;
  const uint32_t n = p.pick(sites);
  const double now = p.edit.node(n).attrs.get_float("factor");
  const double wrong = p.by_magnitude(now * 1.1, 1.0, 1 / now);
  p.edit.set(n, "factor", wrong);
  p.note = fmt::format("{} {} for {}", what, wrong, now);
  return true;
}

// A factor where none belongs, in the op that makes the value.
bool extra_scale(Plant& p, const std::vector<uint32_t>& sites, double factor, const char* what) {
  if (sites.empty()) return false;
  p.edit.change_output(p.pick(sites), [factor](std::vector<double>& y, const View&) {
    for (double& v : y) v *= factor;
  });
  p.note = fmt::format("{} x {:.4g}", what, factor);
  return true;
}

bool embedding_scale(Plant& p) {
  const std::vector<uint32_t> sites = scales(p, Place::kEmbedding);
  if (!sites.empty() && p.magnitude == 0) {
    const double now = p.edit.node(sites[0]).attrs.get_float("factor");
    const double rounded = bfloat16_to_float(float_to_bfloat16(static_cast<float>(now)));
    if (std::abs(rounded / now - 1) < 1e-5) return false;
    p.edit.set(sites[0], "factor", rounded);
    p.note = "the embedding's scale rounded to bfloat16";
    return true;
  }
  if (!sites.empty()) return change_scale(p, sites, "embedding scale");
  if (!p.sites.embedding) return false;
  const double width = static_cast<double>(p.graph().type({*p.sites.embedding, 0}).shape[1].count);
  return extra_scale(p, {*p.sites.embedding}, p.by_magnitude(std::sqrt(width), 12.0, 1.1),
                     "embedding");
}

bool residual_multiplier(Plant& p) {
  const std::vector<uint32_t> sites = scales(p, Place::kLayer);
  if (!sites.empty()) return change_scale(p, sites, "residual multiplier");
  std::vector<uint32_t> lasts;
  for (const AttentionSite& site : p.sites.attentions) {
    if (site.o_proj) lasts.push_back(*site.o_proj);
  }
  for (const MlpSite& site : p.sites.mlps) lasts.push_back(*site.down);
  return extra_scale(p, lasts, p.by_magnitude(0.9, 0.22, std::sqrt(0.5)), "block");
}

bool logit_scale(Plant& p) {
  const std::vector<uint32_t> sites = scales(p, Place::kLogits);
  const bool has_cap = std::ranges::any_of(
      p.sites.ops("activation"), [&](uint32_t n) { return p.sites.head && n > *p.sites.head; });
  if (sites.empty() || has_cap) return false;
  return change_scale(p, sites, "logit scale");
}

bool final_soft_cap(Plant& p) {
  std::vector<uint32_t> tanhs;
  for (const uint32_t n : p.sites.ops("activation")) {
    if (p.sites.head && n > *p.sites.head) tanhs.push_back(n);
  }
  if (tanhs.empty() || p.magnitude == 2) return false;
  const std::vector<uint32_t> sites = scales(p, Place::kLogits);
  if (p.magnitude == 0) {
    p.edit.replace({tanhs[0], 0}, p.edit.node(tanhs[0]).inputs[0]);
    p.note = "no soft cap on the logits";
    return true;
  }
  for (const uint32_t n : sites) {
    const double now = p.edit.node(n).attrs.get_float("factor");
    p.edit.set(n, "factor", now < 1 ? now * 2 : now / 2);
  }
  p.note = "half the soft cap";
  return true;
}

bool learned_positions(Plant& p) {
  const std::vector<uint32_t> sites = p.sites.ops("embedding");
  if (sites.size() < 2) return false;
  const double by = p.by_magnitude(1, 2, 5);
  p.edit.change_input(sites[1], 0, [by](std::vector<double>& ids, const View&) {
    for (double& id : ids) id += by;
  });
  p.note = fmt::format("learned positions +{}", by);
  return true;
}

bool learned_restart(Plant& p) {
  const std::vector<uint32_t> sites = p.sites.ops("embedding");
  if (sites.size() < 2 || p.magnitude != 0) return false;
  p.edit.change_input(sites[1], 0, [](std::vector<double>& ids, const View&) {
    if (ids.size() == 1) ids[0] = 0;
  });
  p.note = "a decoded token stands at position 0";
  return true;
}

bool shifted_ids(Plant& p) {
  if (!p.sites.embedding || p.magnitude == 2) return false;
  const bool repeat = p.magnitude == 0;
  p.edit.change_input(*p.sites.embedding, 0, [repeat](std::vector<double>& ids, const View&) {
    if (ids.size() < 2) return;
    if (repeat) {
      std::shift_right(ids.begin(), ids.end(), 1);  // the first one twice
    } else {
      std::ranges::rotate(ids, ids.begin() + 1);
    }
  });
  p.note = repeat ? "the first token twice" : "tokens shifted by one";
  return true;
}

// Sequential blocks fed in parallel, and the reverse.
bool parallel(Plant& p) {
  // A residual sum that a norm reads, and what was added to it.
  std::vector<std::pair<uint32_t, ValueId>> sites;
  for (const uint32_t norm : p.sites.norms) {
    const ValueId in = p.edit.node(norm).inputs[0];
    const bool is_sum = std::ranges::find(p.sites.layer_adds, in.node) != p.sites.layer_adds.end();
    if (!is_sum || p.sites.layer_of(norm) != p.sites.layer_of(in.node)) continue;
    for (const Call& call : p.graph().calls) {
      if (p.sites.layer_of(norm) >= 0 &&
          call.path == p.sites.layers[static_cast<size_t>(p.sites.layer_of(norm))]) {
        sites.emplace_back(norm, call.inputs[0].value);
      }
    }
  }
  if (sites.empty() || p.magnitude != 0) return false;
  const auto [norm, stream] = p.pick(sites);
  if (!(p.graph().type(stream) == p.sites.input_type(norm, 0))) return false;
  p.edit.rewire(norm, 0, stream);
  p.note = fmt::format("{} reads what the layer reads", p.sites.path(norm));
  return true;
}

bool residual_missing(Plant& p) {
  if (p.sites.layer_adds.empty() || p.magnitude == 2) return false;
  const uint32_t n = p.pick(p.sites.layer_adds);
  if (p.magnitude == 0) {
    p.edit.set(n, "fn", std::string("sub"));
    p.note = "subtracted for added";
    return true;
  }
  const int layer = p.sites.layer_of(n);
  const std::vector<ValueId> in = p.edit.node(n).inputs;
  // What the block gives is in the layer; the stream may come from outside.
  const bool first_is_block =
      p.sites.layer_of(in[0].node) == layer && !p.sites.is_elementwise(in[0].node, "add");
  p.edit.replace({n, 0}, in[first_is_block ? 0 : 1]);
  p.note = "the block alone goes on";
  return true;
}

bool layer_skipped(Plant& p) {
  std::vector<std::pair<ValueId, ValueId>> ends;
  for (const Call& call : p.graph().calls) {
    const bool is_layer = std::ranges::find(p.sites.layers, call.path) != p.sites.layers.end();
    if (!is_layer || call.inputs.empty() || call.outputs.empty()) continue;
    if (p.graph().type(call.inputs[0].value) == p.graph().type(call.outputs[0])) {
      ends.emplace_back(call.inputs[0].value, call.outputs[0]);
    }
  }
  if (ends.size() < 2 || p.magnitude != 0) return false;
  const auto [first, last] = ends.back();
  p.edit.replace(last, first);
  p.note = "the last layer is skipped";
  return true;
}

bool head_tied(Plant& p) {
  if (!p.sites.head || !p.sites.embedding || p.magnitude != 0) return false;
  const Parameter* head = p.edit.parameter_of(*p.sites.head, 1);
  const Parameter* table = p.edit.parameter_of(*p.sites.embedding, 1);
  if (head == nullptr || table == nullptr || head->stored == table->stored ||
      !head->tied_to.empty()) {
    return false;
  }
  if (!(p.sites.input_type(*p.sites.head, 1) == p.sites.input_type(*p.sites.embedding, 1))) {
    return false;
  }
  p.edit.load(*p.sites.head, 1, parts_of(p, *p.sites.embedding, 1));
  p.note = "the head is the embedding";
  return true;
}

bool head_bias(Plant& p) {
  if (!p.sites.head || p.magnitude == 2) return false;
  const uint32_t n = *p.sites.head;
  if (p.edit.node(n).inputs.size() < 3) return false;
  if (p.magnitude == 0) {
    p.edit.drop_input(n, 2);
  } else {
    p.edit.change_input(n, 2, [](std::vector<double>& b, const View&) {
      for (double& x : b) x *= 2;
    });
  }
  p.note = p.magnitude == 0 ? "head without bias" : "the head's bias twice";
  return true;
}

bool head_rows(Plant& p) {
  if (!p.sites.head || p.magnitude == 2) return false;
  const int by = p.by_magnitude(-1, 1, 0);
  p.edit.change_input(*p.sites.head, 0, [by](std::vector<double>& x, const View& view) {
    const auto width = static_cast<ptrdiff_t>(view.dim(1));
    if (view.dim(0) < 2) return;
    std::ranges::rotate(x, by > 0 ? x.begin() + width : x.end() - width);
  });
  p.note = fmt::format("logits of the row {:+}", by);
  return true;
}

constexpr FaultKind kKinds[] = {
    {"embedding_scale", "42 41", embedding_scale},
    {"residual_multiplier", "41 56 60", residual_multiplier},
    {"logit_scale", "25", logit_scale},
    {"final_soft_cap", "25", final_soft_cap},
    {"learned_positions_offset", "19", learned_positions},
    {"learned_positions_restart", "19 10", learned_restart},
    {"tokens_shifted", "66", shifted_ids},
    {"parallel_residual", "39", parallel},
    {"residual_missing", "41 39 40", residual_missing},
    {"layer_skipped", "58 67", layer_skipped},
    {"head_tied", "43", head_tied},
    {"head_bias", "44 30", head_bias},
    {"head_rows", "76", head_rows},
};

}  // namespace

std::span<const FaultKind> residual_kinds() { return kKinds; }

}  // namespace lockstep::mutants
