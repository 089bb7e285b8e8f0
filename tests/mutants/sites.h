// Where in a traced graph a fault can be planted, found by what nodes do and by what they read,
// never by the name of an architecture.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace lockstep::mutants {

/// One attention: how its inputs were made, and what its outcome goes into.
struct AttentionSite {
  uint32_t node = 0;
  bool is_latent = false;
  std::optional<uint32_t> q_rope, k_rope;
  std::optional<uint32_t> q_norm, k_norm;          // of heads, or of the whole projection
  std::optional<uint32_t> q_proj, k_proj, v_proj;  // linear; one node where they are fused
  std::optional<uint32_t> o_proj;
  int64_t n_heads = 0, n_kv_heads = 0, head_dim = 0;
};

/// A feed-forward block: gated, act(gate) * up, or act(gate) alone.
struct MlpSite {
  uint32_t activation = 0;
  std::optional<uint32_t> gate, up, mul, down;
};

class Sites {
 public:
  explicit Sites(const Graph& graph);

  std::vector<AttentionSite> attentions;
  std::vector<MlpSite> mlps;
  std::vector<uint32_t> norms;        // of whole hidden states, with a weight
  std::vector<uint32_t> layer_adds;   // residual sums: in a layer, of hidden states
  std::vector<std::string> layers;    // paths, in order
  std::optional<uint32_t> embedding;  // of the token ids
  std::optional<uint32_t> head;       // linear to the vocabulary

  /// Nodes of one op, in order.
  std::vector<uint32_t> ops(std::string_view op) const;
  std::string_view path(uint32_t n) const;
  /// Index into `layers` of the layer that node `n` is in; -1 outside.
  int layer_of(uint32_t n) const;
  /// The nearest `op` that `v` is made by, through the first inputs of `passes`.
  std::optional<uint32_t> made_by(ValueId v, std::string_view op,
                                  std::initializer_list<std::string_view> passes) const;
  /// Nodes that read `v`, reshapes seen through.
  std::vector<uint32_t> readers(ValueId v) const;
  bool is_op(uint32_t n, std::string_view op) const;
  bool is_elementwise(uint32_t n, std::string_view fn) const;
  /// The type of the value at input `i`.
  const TensorType& input_type(uint32_t n, size_t i) const;

 private:
  void find_layers();
  void find_attentions();
  void find_mlps();
  void find_rest();

  const Graph& graph_;
};

}  // namespace lockstep::mutants
