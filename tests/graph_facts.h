// What a traced graph shows of an architecture, in words for people: a row of
// docs/architectures.md. Nothing here names an architecture.
#pragma once

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace lockstep::test {

enum class Fact { kAttention, kPositions, kMlp, kNorms, kCaches, kCount };
using GraphFacts = std::array<std::set<std::string>, static_cast<size_t>(Fact::kCount)>;

/// Reads the facts off a graph. A block is a child of a layer: "model.layers.3.self_attn".
class FactFinder {
 public:
  explicit FactFinder(const Graph& graph) : graph_(graph), readers_(graph.nodes.size()) {
    for (uint32_t n = 0; n < graph.nodes.size(); ++n) {
      for (const ValueId& input : graph.nodes[n].inputs) readers_[input.node].push_back(n);
      if (kMixing.contains(op(n)) || op(n) == "experts") blocks_[block_of(n)].insert(op(n));
    }
  }

  GraphFacts find() {
    for (uint32_t n = 0; n < graph_.nodes.size(); ++n) {
      if (kMixing.contains(op(n))) add(Fact::kAttention, kMixing.at(op(n)));
      if (op(n) == "attention") add_attention(n);
      if (op(n) == "rope") add_rotation(n);
      if (op(n) == "embedding" && node(n).inputs[0] == graph_.find_input("@positions")) {
        add(Fact::kPositions, "learned");
      }
      if (op(n) == "rms_norm" || op(n) == "layer_norm") add_norm(n);
      if (op(n) == "router_topk") add_router(n);
      if (op(n) == "activation") add_activation(n);
    }
    if (n_windows_ > 0) {
      add(Fact::kAttention, n_windows_ < n_attentions_ ? "window in some layers" : "window");
    }
    if (n_rotated_ > 0 && n_rotated_ < n_attentions_) {
      add(Fact::kPositions, "none in some layers");
    }
    for (const CacheInput& cache : graph_.caches) {
      add(Fact::kCaches, cache.name.substr(cache.name.rfind('/') + 1));
    }
    return std::move(facts_);
  }

 private:
  // Ops that carry something from token to token; attention has words of its own.
  inline static const std::map<std::string_view, std::string> kMixing = {
      {"attention", ""},
      {"latent_attention", "latent"},
      {"causal_conv", "causal convolution"},
      {"gated_delta_rule", "gated delta rule"},
      {"selective_scan", "selective scan"},
      {"ssd_scan", "state-space dual scan"}};

  void add(Fact fact, const std::string& word) {
    if (!word.empty()) facts_[static_cast<size_t>(fact)].insert(word);
  }
  const Node& node(uint32_t n) const { return graph_.nodes[n]; }
  std::string_view op(uint32_t n) const {
    return node(n).op == nullptr ? std::string_view() : node(n).op->name;
  }
  const Shape& shape_of_input(uint32_t n, size_t i) const {
    return graph_.type(node(n).inputs[i]).shape;
  }
  // "" outside layers: a layer's path ends in the first number.
  std::string block_of(uint32_t n) const {
    if (node(n).call == kNoCall) return "";
    const std::string& path = graph_.calls[node(n).call].path;
    for (size_t at = path.find('.'); at != std::string::npos; at = path.find('.', at + 1)) {
      if (std::isdigit(static_cast<unsigned char>(path[at + 1])) == 0) continue;
      const size_t child = path.find('.', at + 1);
      return child == std::string::npos ? "" : path.substr(0, path.find('.', child + 1));
    }
    return "";
  }
  bool mixes(const std::string& block) const {
    const auto at = blocks_.find(block);
    return at != blocks_.end() && !at->second.contains("experts");
  }
  bool is_read_by_elementwise(uint32_t n, std::string_view fn) const {
    return std::ranges::any_of(readers_[n], [&](uint32_t r) {
      return op(r) == "elementwise" && node(r).attrs.get_string("fn") == fn;
    });
  }

  void add_attention(uint32_t n) {
    const Attrs& attrs = node(n).attrs;
    const int64_t heads = shape_of_input(n, 0)[1].count, kv_heads = shape_of_input(n, 1)[1].count;
    add(Fact::kAttention, kv_heads == heads ? "multi-head"
                          : kv_heads == 1   ? "multi-query"
                                            : "grouped");
    if (attrs.get_float("soft_cap", 0) > 0) add(Fact::kAttention, "soft cap");
    if (node(n).inputs.size() > 9) add(Fact::kAttention, "sinks");
    if (attrs.has("alibi_slopes")) add(Fact::kPositions, "ALiBi");
    ++n_attentions_;
    n_windows_ += attrs.get_int("window", 0) > 0;
    n_rotated_ += op(node(n).inputs[0].node) == "rope";
  }

  void add_rotation(uint32_t n) {
    const bool is_partial = shape_of_input(n, 1)[-1].count < shape_of_input(n, 0)[-1].count;
    const bool in_halves = node(n).attrs.get_string("style", "half") == "half";
    add(Fact::kPositions,
        std::string(is_partial ? "partial " : "") + (in_halves ? "rotary" : "interleaved rotary"));
  }

  void add_norm(uint32_t n) {
    const std::string block = block_of(n);
    if (block.empty()) return;
    if (mixes(block)) {
      if (blocks_.at(block).contains("attention")) add(Fact::kAttention, "norm of q and k");
      return;
    }
    const bool has_offset = node(n).attrs.get_float("weight_offset", 0) != 0;
    add(Fact::kNorms, std::string(op(n) == "layer_norm" ? "LayerNorm" : "RMSNorm") +
                          (has_offset ? " of 1 + weight" : "") +
                          (is_read_by_elementwise(n, "add") ? " after" : " before"));
  }

  void add_router(uint32_t n) {
    const Attrs& attrs = node(n).attrs;
    add(Fact::kMlp, "top-k experts by " + attrs.get_string("scoring") +
                        (attrs.get_int("n_group", 1) > 1 ? " in groups" : ""));
  }

  void add_activation(uint32_t n) {
    const std::string block = block_of(n);
    if (block.empty() || mixes(block)) return;
    const std::string& fn = node(n).attrs.get_string("fn");
    if (!blocks_.contains(block)) {
      add(Fact::kMlp, (is_read_by_elementwise(n, "mul") ? "gated " : "plain ") + fn);
    } else if (fn != "sigmoid") {  // which weighs the shared expert
      add(Fact::kMlp, "shared expert");
    }
  }

  const Graph& graph_;
  std::vector<std::vector<uint32_t>> readers_;
  std::map<std::string, std::set<std::string_view>> blocks_;  // those that mix tokens or route
  size_t n_attentions_ = 0, n_windows_ = 0, n_rotated_ = 0;
  GraphFacts facts_;
};

}  // namespace lockstep::test
