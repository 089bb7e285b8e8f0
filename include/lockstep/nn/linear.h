// torch.nn.Linear and torch.nn.Embedding.
#pragma once

#include <cmath>
#include <optional>

#include "lockstep/module.h"
#include "lockstep/ops.h"

namespace lockstep {

/// weight [V, H], ids int32 [T] -> [T, H]
struct Embedding : Module<Embedding> {
  static constexpr const char* kClass = "Embedding";
  Value weight;

  Embedding(const Scope& s, int64_t num_embeddings, int64_t embedding_dim)
      : Module(s), weight(s.parameter("weight", {num_embeddings, embedding_dim})) {}

  Value forward(const Value& ids) const { return ids.builder().op("embedding", {ids, weight}); }
};

/// As Gemma's: times sqrt(embedding_dim), which is rounded to the type between modules first.
struct ScaledEmbedding : Module<ScaledEmbedding> {
  static constexpr const char* kClass = "ScaledWordEmbedding";
  Embedding table;
  double embed_scale;

  ScaledEmbedding(const Scope& s, int64_t num_embeddings, int64_t embedding_dim)
      : Module(s),
        table(s, num_embeddings, embedding_dim),
        embed_scale(std::sqrt(static_cast<double>(embedding_dim))) {}

  Value forward(const Value& ids) const { return scale_in_type(table.forward(ids), embed_scale); }
};

enum class Bias : bool { kNo, kYes };

/// x W^T + b: weight [out, in], x [..., in] -> [..., out]
struct Linear : Module<Linear> {
  static constexpr const char* kClass = "Linear";
  Value weight;
  std::optional<Value> bias;

  Linear(const Scope& s, int64_t in_features, int64_t out_features, Bias with_bias = Bias::kNo)
      : Module(s), weight(s.parameter("weight", {out_features, in_features})) {
    if (with_bias == Bias::kYes) bias = s.parameter("bias", {out_features});
  }
  /// A head tied to `embedding`: it shares the weight and keeps its own path.
  Linear(const Scope& s, const Embedding& embedding)
      : Module(s), weight(s.builder().tie((s / "weight").path(), embedding.weight)) {}
  Linear(const Scope& s, const ScaledEmbedding& embedding) : Linear(s, embedding.table) {}

  Value forward(const Value& x) const {
    return bias ? x.builder().op("linear", {x, weight, *bias})
                : x.builder().op("linear", {x, weight});
  }
};

}  // namespace lockstep
