// What an architecture does beyond its names: read off the attributes of its traced ops.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "port/donor_trace.h"

namespace lockstep::port {
namespace {

bool is_op(const Node& node, std::string_view name) {
  return node.kind == NodeKind::kOp && node.op->name == name;
}

bool is_scale(const Node& node) {
  if (!is_op(node, "elementwise")) return false;
  const std::string_view fn = node.attrs.get_string("fn", "");
  return (fn == "scale" || fn == "scale_in_type") &&
         std::abs(node.attrs.get_float("factor", 1) - 1) > 1e-6;
}

int64_t width_of(const Graph& graph, ValueId value) {
  const Shape& shape = graph.type(value).shape;
  return shape[shape.rank() - 1].count;
}

class Finder {
 public:
  explicit Finder(const Graph& graph) : graph_(graph) {}

  std::vector<Trait> find() {
    for (uint32_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& node = graph_.nodes[i];
      if (node.kind != NodeKind::kOp) continue;
      if (is_op(node, "attention")) note_attention(node);
      if (is_op(node, "latent_attention")) note_scale(node, latent_width(node));
      if (is_op(node, "rope")) note_rope(node);
      if (is_op(node, "rms_norm")) note_rms_norm(node);
      if (is_op(node, "layer_norm")) ++n_layer_norms_;
      if (is_scale(node)) note_scaling(node);
    }
    note_layers();
    note_norm_kind();
    std::vector<Trait> traits;
    for (auto& [name, trait] : found_) traits.push_back(std::move(trait));
    return traits;
  }

 private:
  void add(Trait trait) { found_.emplace(trait.name, std::move(trait)); }

  // The module call that a node belongs to; "" for the whole model.
  std::string path_of(const Node& node) const {
    return node.call == kNoCall ? "" : graph_.calls[node.call].path;
  }

  int64_t latent_width(const Node& node) const {
    return width_of(graph_, node.inputs[0]) + width_of(graph_, node.inputs[1]);
  }

  void note_attention(const Node& node) {
    attending_.insert(node.call);
    note_scale(node, width_of(graph_, node.inputs[0]));
    if (node.attrs.get_int("window", 0) != 0) {
      add({"window",
           "attention",
           "window",
           "attends within a window",
           {"*window*", "layer_types"}});
    }
    if (node.attrs.get_float("soft_cap", 0) != 0) {
      add({"soft_cap", "attention", "scores", "caps attention scores", {"*attn*softcap*"}});
    }
    if (node.attrs.has("alibi_slopes")) {
      add({"alibi", "positions", "alibi", "adds ALiBi's slopes to scores", {"*alibi*"}});
    }
  }

  void note_scale(const Node& node, int64_t width) {
    const double plain = 1 / std::sqrt(static_cast<double>(width));
    const double found = node.attrs.get_float("scale", plain);
    if (std::abs(found / plain - 1) > 1e-3) unusual_scale_.insert(node.call);
  }

  void note_rope(const Node& node) {
    rotating_.insert(node.call);
    const std::string_view style = node.attrs.get_string("style", "half");
    if (style != "half") {
      add({"interleaved",
           "positions",
           "rotation",
           "rotates neighbouring channels",
           {"*interleave*"}});
    }
    if (width_of(graph_, node.inputs[1]) < width_of(graph_, node.inputs[0])) {
      add({"partial_rotary",
           "positions",
           "rotation",
           "rotates a part of each head",
           {"*partial_rotary*", "*rotary_pct*", "*rotary_dim*", "rope_pct", "*rope_head_dim"}});
    }
  }

  void note_rms_norm(const Node& node) {
    ++n_rms_norms_;
    if (node.attrs.get_float("weight_offset", 0) != 0) {
      add({"unit_offset", "norm", "kind", "adds 1 to the weights of norms", {"*norm*offset*"}});
    }
  }

  void note_scaling(const Node& node) {
    const Node& source = graph_.node(node.inputs[0]);
    const std::string path = path_of(node);
    scaling_.insert(node.call);
    if (is_op(source, "embedding") || path.ends_with("embed_tokens") || path.ends_with("wte")) {
      add({"embedding_scale",
           "layer",
           "embedding",
           "scales the embeddings",
           {"*embedding_multiplier*", "*scale_emb*", "*embed*scale*", "*normalize_embed*"}});
    } else if (path.empty()) {
      add({"logit_scale", "head", "logits", "scales or caps the logits", {"*logit*"}});
    } else if (is_layer(path)) {
      add({"residual_scale",
           "layer",
           "wiring",
           "scales what it adds to the residual",
           {"*residual*", "*depth*scale*"}});
    }
  }

  // "model.layers.3", "transformer.h.3"
  static bool is_layer(const std::string& path) {
    const size_t dot = path.rfind('.');
    return dot != std::string::npos && dot + 1 < path.size() &&
           std::all_of(path.begin() + static_cast<std::ptrdiff_t>(dot) + 1, path.end(),
                       [](char c) { return c >= '0' && c <= '9'; });
  }

  void note_layers() {
    for (const uint32_t call : unusual_scale_) {
      // A query that was scaled before is the same thing written otherwise.
      if (scaling_.contains(call)) continue;
      add({"score_scale",
           "attention",
           "scores",
           "scales scores by another factor than 1/sqrt(head_dim)",
           {"attention_multiplier", "query_pre_attn_scalar", "scale_attn*", "*attn*scale*",
            "*mscale*"}});
    }
    const bool some = !rotating_.empty() && std::ranges::any_of(attending_, [&](uint32_t call) {
      return !rotating_.contains(call);
    });
    if (some) {
      add({"no_rope_layers",
           "positions",
           "layers without rotation",
           "does not rotate in some layers",
           {"*no_rope*"}});
    }
    note_parallel();
  }

  // Two norms of a layer that read the same value: attention and MLP side by side.
  void note_parallel() {
    std::map<uint32_t, ValueId> first;
    for (const Call& call : graph_.calls) {
      if (call.parent == kNoCall || call.inputs.empty()) continue;
      const std::string& parent = graph_.calls[call.parent].path;
      if (!is_layer(parent) || call.path.find("norm", parent.size()) == std::string::npos) continue;
      const auto [at, is_new] = first.emplace(call.parent, call.inputs[0].value);
      if (is_new || at->second != call.inputs[0].value) continue;
      add({"parallel", "layer", "wiring", "runs attention and MLP side by side", {"*parallel*"}});
      return;
    }
  }

  void note_norm_kind() {
    if (n_layer_norms_ > n_rms_norms_) {
      add({"layer_norm",
           "norm",
           "kind",
           "has norms that subtract the mean (LayerNorm)",
           {"layer_norm_e*", "norm_epsilon", "*layernorm_eps*", "layer_norm_bias*"}});
    } else if (n_rms_norms_ > 0) {
      add({"rms_norm",
           "norm",
           "kind",
           "has norms that do not subtract the mean (RMSNorm)",
           {"*rms*", "norm_eps"}});
    }
  }

  const Graph& graph_;
  std::map<std::string, Trait> found_;
  std::set<uint32_t> attending_, rotating_, scaling_, unusual_scale_;

  size_t n_rms_norms_ = 0, n_layer_norms_ = 0;
};

}  // namespace

std::vector<Trait> traits_of(const Graph& graph) { return Finder(graph).find(); }

}  // namespace lockstep::port
