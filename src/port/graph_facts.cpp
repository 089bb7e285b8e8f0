#include "port/graph_facts.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace lockstep::port {
namespace {

// Goes through the nodes once, and from each attention op back to its projections and on to the
// sum.
class Reader {
 public:
  explicit Reader(const Trace& trace) : graph_(trace.graph), consumers_(trace.graph.nodes.size()) {
    for (uint32_t n = 0; n < graph_.nodes.size(); ++n) {
      for (const ValueId& input : graph_.nodes[n].inputs) consumers_[input.node].push_back(n);
    }
    facts_.is_tied = !trace.audit.ties.empty();
  }

  GraphFacts read() {
    for (uint32_t n = 0; n < graph_.nodes.size(); ++n) {
      if (graph_.nodes[n].op != nullptr) read_op(n);
    }
    for (const Call& call : graph_.calls) read_call(call);
    for (const FunctionalTap& tap : graph_.taps) facts_.names.insert(tap.name);
    for (const Parameter& parameter : graph_.parameters) add_names(parameter.path);
    read_blocks();
    read_head();
    return std::move(facts_);
  }

 private:
  std::string path_of(uint32_t n) const {
    const uint32_t call = graph_.nodes[n].call;
    return call == kNoCall ? "" : graph_.calls[call].path;
  }
  bool is_op(uint32_t n, std::string_view name) const {
    return graph_.nodes[n].op != nullptr && graph_.nodes[n].op->name == name;
  }
  bool is_norm(uint32_t n) const { return is_op(n, "rms_norm") || is_op(n, "layer_norm"); }

  void add_names(std::string_view path) {
    for (size_t begin = 0; begin < path.size();) {
      const size_t end = std::min(path.find('.', begin), path.size());
      facts_.names.emplace(path.substr(begin, end - begin));
      begin = end + 1;
    }
  }

  void read_call(const Call& call) {
    facts_.classes.insert(call.class_name);
    add_names(call.path);
    // "model.layers.3": the first number of a path.
    for (size_t begin = 0; begin < call.path.size();) {
      const size_t end = std::min(call.path.find('.', begin), call.path.size());
      int64_t layer = 0;
      const auto [stop, error] =
          std::from_chars(call.path.data() + begin, call.path.data() + end, layer);
      if (error == std::errc{} && stop == call.path.data() + end) {
        facts_.layers.insert(layer);
        break;
      }
      begin = end + 1;
    }
    const bool is_shared = call.path.find("shared_expert") != std::string::npos ||
                           call.path.find("shared_mlp") != std::string::npos;
    facts_.has_shared_experts = facts_.has_shared_experts || is_shared;
  }

  void read_op(uint32_t n) {
    const Node& node = graph_.nodes[n];
    const std::string name(node.op->name);
    ++facts_.ops[name];
    if (name == "activation" || name == "experts") {
      facts_.activations.emplace(node.attrs.get_string("fn", "none"));
    }
    if (name == "experts") {
      facts_.has_gate = true;
      read_experts(n);
    }
    if (name == "activation") read_gate(n);
    if (name == "rms_norm" && node.attrs.get_float("weight_offset", 0.0) != 0) {
      facts_.has_unit_offset = true;
    }
    if (name == "attention" || name == "latent_attention") read_attention(n);
    if (name == "linear") read_bias(n);
    if (name == "embedding" && comes_from(node.inputs, "@positions")) {
      facts_.has_learned_positions = true;
    }
  }

  bool comes_from(const std::vector<ValueId>& inputs, std::string_view input) const {
    return std::ranges::any_of(inputs, [&](const ValueId& v) {
      const Node* node = &graph_.nodes[v.node];
      // Positions may be moved by a constant before they are looked up.
      for (int i = 0; i < 4 && node->kind == NodeKind::kOp && !node->inputs.empty(); ++i) {
        node = &graph_.nodes[node->inputs[0].node];
      }
      return node->name == input;
    });
  }

  // fn(gate) * up, with a projection on both sides.
  void read_gate(uint32_t n) {
    for (const uint32_t user : consumers_[n]) {
      const Node& node = graph_.nodes[user];
      if (is_op(user, "elementwise") && node.attrs.get_string("fn", "") == "mul" &&
          node.inputs.size() == 2 && node.inputs[0].node != node.inputs[1].node) {
        const uint32_t other = node.inputs[0].node == n ? node.inputs[1].node : node.inputs[0].node;
        facts_.has_gate = facts_.has_gate || projects(other);
      }
    }
  }
  bool projects(uint32_t n) const {
    for (int i = 0; i < 4; ++i) {
      if (is_op(n, "linear")) return true;
      const Node& node = graph_.nodes[n];
      if (node.kind != NodeKind::kOp || node.inputs.empty()) return false;
      n = node.inputs[0].node;
    }
    return false;
  }

  void read_bias(uint32_t n) {
    if (graph_.nodes[n].inputs.size() < 3) return;
    const std::string path = path_of(n);
    const bool is_attention =
        path.find("attn") != std::string::npos || path.find("attention") != std::string::npos;
    (is_attention ? facts_.has_attention_bias : facts_.has_mlp_bias) = true;
  }

  void read_experts(uint32_t n) {
    const Node& node = graph_.nodes[n];
    ExpertFacts experts{path_of(n), 0, 0, ""};
    experts.experts = graph_.type(node.inputs[3]).shape[0].count;
    experts.chosen = graph_.type(node.inputs[1]).shape[-1].count;
    const uint32_t router = source_of(node.inputs[1].node, "router_topk");
    if (router != kNoCall) {
      experts.scoring = std::string(graph_.nodes[router].attrs.get_string("scoring", ""));
    }
    facts_.experts.push_back(std::move(experts));
  }

  // The op `name` that `n` is, or comes from by first inputs alone; kNoCall: none.
  uint32_t source_of(uint32_t n, std::string_view name) const {
    for (int i = 0; i < 8; ++i) {
      if (is_op(n, name)) return n;
      const Node& node = graph_.nodes[n];
      if (node.kind != NodeKind::kOp || node.inputs.empty()) return kNoCall;
      n = node.inputs[0].node;
    }
    return kNoCall;
  }

  void read_attention(uint32_t n) {
    const Node& node = graph_.nodes[n];
    AttentionFacts a;
    a.path = path_of(n);
    a.is_latent = is_op(n, "latent_attention");
    const Shape& q = graph_.type(node.inputs[0]).shape;
    a.heads = q[-2].count;
    a.head_dim = q[-1].count;
    a.kv_heads = a.is_latent ? 1 : graph_.type(node.inputs[1]).shape[-2].count;
    a.window = node.attrs.get_int("window", 0);
    a.has_soft_cap = node.attrs.get_float("soft_cap", 0.0) != 0;
    a.has_sinks = !a.is_latent && node.inputs.size() > 9;
    a.has_alibi = node.attrs.has("alibi_slopes");
    std::set<uint32_t> seen;
    read_queries(node.inputs[0].node, a, seen);
    if (a.is_latent) {
      read_queries(node.inputs[1].node, a, seen);
      a.is_partly_rotated = a.is_rotated;
    }
    a.has_output_norm = is_normed_before_sum(n);
    facts_.attentions.push_back(std::move(a));
  }

  // From q back to its projection.
  void read_queries(uint32_t n, AttentionFacts& a, std::set<uint32_t>& seen) const {
    const Node& node = graph_.nodes[n];
    if (node.kind != NodeKind::kOp || is_op(n, "linear") || !seen.insert(n).second) return;
    if (is_norm(n)) a.has_qk_norm = true;
    if (is_op(n, "rope")) {
      a.is_rotated = true;
      a.rope_style = std::string(node.attrs.get_string("style", ""));
      if (graph_.type(node.inputs[1]).shape[-1].count <
          graph_.type(node.inputs[0]).shape[-1].count) {
        a.is_partly_rotated = true;
      }
      read_queries(node.inputs[0].node, a, seen);
      return;
    }
    const bool joins = is_op(n, "concat");
    const bool was_rotated = a.is_rotated;
    size_t n_rotated = 0;
    for (const ValueId& input : node.inputs) {
      a.is_rotated = false;
      read_queries(input.node, a, seen);
      n_rotated += a.is_rotated ? 1 : 0;
    }
    a.is_rotated = was_rotated || n_rotated > 0;
    if (joins && n_rotated > 0 && n_rotated < node.inputs.size()) a.is_partly_rotated = true;
  }

  // From the attention's result on: a norm before the residual sum.
  bool is_normed_before_sum(uint32_t n) const {
    for (int i = 0; i < 12; ++i) {
      const std::vector<uint32_t>& users = consumers_[n];
      if (users.empty()) return false;
      n = users.front();
      if (is_norm(n)) return true;
      if (is_op(n, "elementwise") && graph_.nodes[n].attrs.get_string("fn", "") == "add")
        return false;
    }
    return false;
  }

  // What a value is the norm of, or itself.
  ValueId before_norm(ValueId v) const {
    while (graph_.nodes[v.node].kind == NodeKind::kOp && is_norm(v.node)) {
      v = graph_.nodes[v.node].inputs[0];
    }
    return v;
  }

  void read_blocks() {
    for (AttentionFacts& a : facts_.attentions) {
      const auto own = graph_.find_call(a.path);
      if (!own || graph_.calls[*own].inputs.empty()) continue;
      const Call& attention = graph_.calls[*own];
      a.has_input_norm = before_norm(attention.inputs[0].value) != attention.inputs[0].value;
      for (const Call& other : graph_.calls) {
        if (other.parent != attention.parent || other.path == attention.path ||
            other.inputs.empty() || other.begin == other.end) {
          continue;
        }
        size_t n_linear = 0;
        for (uint32_t n = other.begin; n < other.end; ++n) n_linear += is_op(n, "linear") ? 1 : 0;
        if (n_linear >= 2 &&
            before_norm(other.inputs[0].value) == before_norm(attention.inputs[0].value)) {
          facts_.is_parallel = true;
        }
      }
    }
  }

  void read_head() {
    if (graph_.outputs.empty()) return;
    uint32_t n = graph_.outputs[0].value.node;
    for (int i = 0; i < 4 && graph_.nodes[n].kind == NodeKind::kOp; ++i) {
      if (is_op(n, "activation")) facts_.has_logit_cap = true;
      if (graph_.nodes[n].inputs.empty()) break;
      n = graph_.nodes[n].inputs[0].node;
    }
  }

  const Graph& graph_;
  std::vector<std::vector<uint32_t>> consumers_;
  GraphFacts facts_;
};

}  // namespace

size_t GraphFacts::count(std::string_view op) const {
  const auto at = ops.find(op);
  return at == ops.end() ? 0 : at->second;
}

bool GraphFacts::has_state() const {
  return count("ssd_scan") + count("selective_scan") + count("gated_delta_rule") > 0;
}

GraphFacts facts_of(const Trace& trace) { return Reader(trace).read(); }

}  // namespace lockstep::port
