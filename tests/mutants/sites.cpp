#include "sites.h"

#include <algorithm>
#include <cctype>

namespace lockstep::mutants {
namespace {

const std::initializer_list<std::string_view> kShaping = {"reshape", "slice", "concat", "cast"};
const std::initializer_list<std::string_view> kBeforeAttention = {
    "reshape", "slice", "concat", "cast", "rope", "rms_norm", "layer_norm"};

// "model.layers.3" ends in a number.
bool is_layer_path(std::string_view path) {
  const size_t dot = path.rfind('.');
  return dot != std::string_view::npos && dot + 1 < path.size() &&
         std::ranges::all_of(path.substr(dot + 1), [](unsigned char c) { return std::isdigit(c); });
}

}  // namespace

Sites::Sites(const Graph& graph) : graph_(graph) {
  find_layers();
  find_attentions();
  find_mlps();
  find_rest();
}

bool Sites::is_op(uint32_t n, std::string_view op) const {
  return graph_.nodes[n].kind == NodeKind::kOp && graph_.nodes[n].op->name == op;
}

bool Sites::is_elementwise(uint32_t n, std::string_view fn) const {
  return is_op(n, "elementwise") && graph_.nodes[n].attrs.get_string("fn") == fn;
}

std::string_view Sites::path(uint32_t n) const {
  const uint32_t call = graph_.nodes[n].call;
  return call == kNoCall ? std::string_view() : std::string_view(graph_.calls[call].path);
}

std::vector<uint32_t> Sites::ops(std::string_view op) const {
  std::vector<uint32_t> found;
  for (uint32_t n = 0; n < graph_.nodes.size(); ++n) {
    if (is_op(n, op)) found.push_back(n);
  }
  return found;
}

const TensorType& Sites::input_type(uint32_t n, size_t i) const {
  return graph_.type(graph_.nodes[n].inputs[i]);
}

int Sites::layer_of(uint32_t n) const {
  const std::string_view at = path(n);
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::string& layer = layers[i];
    if (at.starts_with(layer) && (at.size() == layer.size() || at[layer.size()] == '.')) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

std::optional<uint32_t> Sites::made_by(ValueId v, std::string_view op,
                                       std::initializer_list<std::string_view> passes) const {
  for (;;) {
    const Node& node = graph_.node(v);
    if (node.kind != NodeKind::kOp) return std::nullopt;
    if (node.op->name == op) return v.node;
    if (std::ranges::find(passes, node.op->name) == passes.end()) return std::nullopt;
    v = node.inputs[0];
  }
}

std::vector<uint32_t> Sites::readers(ValueId v) const {
  std::vector<uint32_t> found;
  for (uint32_t n = v.node + 1; n < graph_.nodes.size(); ++n) {
    if (std::ranges::find(graph_.nodes[n].inputs, v) == graph_.nodes[n].inputs.end()) continue;
    if (is_op(n, "reshape")) {
      std::ranges::copy(readers({n, 0}), std::back_inserter(found));
    } else if (graph_.nodes[n].kind == NodeKind::kOp) {
      found.push_back(n);
    }
  }
  return found;
}

void Sites::find_layers() {
  for (const Call& call : graph_.calls) {
    if (is_layer_path(call.path) && std::ranges::find(layers, call.path) == layers.end()) {
      layers.push_back(call.path);
    }
  }
}

void Sites::find_attentions() {
  const auto linear_of = [&](ValueId v) { return made_by(v, "linear", kBeforeAttention); };
  const auto norm_of = [&](ValueId v) {
    const std::initializer_list<std::string_view> passes = {"reshape", "slice", "rope"};
    const auto rms = made_by(v, "rms_norm", passes);
    return rms ? rms : made_by(v, "layer_norm", passes);
  };
  for (uint32_t n = 0; n < graph_.nodes.size(); ++n) {
    const bool is_latent = is_op(n, "latent_attention");
    if (!is_latent && !is_op(n, "attention")) continue;
    const std::vector<ValueId>& in = graph_.nodes[n].inputs;
    AttentionSite site;
    site.node = n;
    site.is_latent = is_latent;
    site.q_rope = made_by(in[is_latent ? 1 : 0], "rope", kShaping);
    site.k_rope = made_by(in[is_latent ? 3 : 1], "rope", kShaping);
    site.q_proj = linear_of(in[0]);
    site.n_heads = graph_.type(in[0]).shape[1].count;
    site.n_kv_heads = is_latent ? site.n_heads : graph_.type(in[1]).shape[1].count;
    site.head_dim = graph_.type(in[0]).shape[2].count;
    if (!is_latent) {
      site.k_proj = linear_of(in[1]);
      site.v_proj = linear_of(in[2]);
      site.q_norm = norm_of(in[0]);
      site.k_norm = norm_of(in[1]);
    }
    for (uint32_t reader : readers({n, 0})) {
      if (is_elementwise(reader, "mul")) {
        const std::vector<uint32_t> next = readers({reader, 0});
        if (next.size() == 1) reader = next[0];
      }
      if (is_op(reader, "linear")) site.o_proj = reader;
    }
    attentions.push_back(site);
  }
}

void Sites::find_mlps() {
  for (uint32_t n = 0; n < graph_.nodes.size(); ++n) {
    if (!is_op(n, "activation")) continue;
    MlpSite site;
    site.activation = n;
    site.gate = made_by(graph_.nodes[n].inputs[0], "linear", kShaping);
    if (!site.gate || graph_.type({*site.gate, 0}).shape[-1].count < 16) continue;
    const std::vector<uint32_t> next = readers({n, 0});
    if (next.size() != 1) continue;
    if (is_op(next[0], "linear")) {
      site.down = next[0];
    } else if (is_elementwise(next[0], "mul")) {
      const std::vector<ValueId>& factors = graph_.nodes[next[0]].inputs;
      site.up = made_by(factors[graph_.storage(factors[0]).node == n ? 1 : 0], "linear", kShaping);
      if (!site.up) continue;  // a gate of an attention, of a scan
      site.mul = next[0];
      const std::vector<uint32_t> last = readers({next[0], 0});
      if (last.size() == 1 && is_op(last[0], "linear")) site.down = last[0];
    }
    if (site.down) mlps.push_back(site);
  }
}

void Sites::find_rest() {
  const auto hidden = [&](uint32_t n) {
    const TensorType& type = graph_.type({n, 0});
    return type.shape.rank() == 2 && embedding &&
           type.shape[1] == graph_.type({*embedding, 0}).shape[1];
  };
  for (uint32_t n = 0; n < graph_.nodes.size(); ++n) {
    if (is_op(n, "embedding") && !embedding) embedding = n;
    if (is_op(n, "linear")) head = n;
    const bool is_norm = is_op(n, "rms_norm") || is_op(n, "layer_norm");
    if (is_norm && hidden(n)) norms.push_back(n);
    if (is_elementwise(n, "add") && hidden(n) && is_layer_path(path(n)) &&
        graph_.type(graph_.nodes[n].inputs[1]).shape == graph_.type({n, 0}).shape) {
      layer_adds.push_back(n);
    }
  }
}

}  // namespace lockstep::mutants
