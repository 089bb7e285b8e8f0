// Rotary position embedding: tables of cosines and sines, and their application to q and k.
#pragma once

#include <utility>
#include <vector>

#include "lockstep/module.h"
#include "lockstep/nn/rope_config.h"
#include "lockstep/step.h"

namespace lockstep {

/// How pairs of channels are formed: first half with second half (Llama, NeoX), or neighbours
/// (GPT-J, Cohere), or neighbours with tables in the order of kHalf, which stay where they are
/// (GLM) or become halves (DeepSeek).
enum class RopeStyle { kHalf, kInterleaved, kInterleavedByHalf, kInterleavedToHalf };

inline const char* rope_style_name(RopeStyle style) {
  constexpr const char* kNames[] = {"half", "interleaved", "interleaved_by_half",
                                    "interleaved_to_half"};
  return kNames[static_cast<int>(style)];
}

/// cos and sin, float32 [T, rotary_dim], each frequency twice in the order of the style.
struct PositionEmbeddings {
  Value cos, sin;
  std::vector<Value> values() const { return {cos, sin}; }
};

inline PositionEmbeddings rotary_tables(const Value& position_ids,
                                        const RopeFrequencies& frequencies,
                                        RopeStyle layout = RopeStyle::kHalf) {
  const std::vector<double> inv_freq(frequencies.inv_freq.begin(), frequencies.inv_freq.end());
  std::vector<Attr> attrs = {{"inv_freq", inv_freq},
                             {"attention_scaling", frequencies.attention_scaling},
                             {"layout", rope_style_name(layout)}};
  if (frequencies.switch_length != 0) {
    attrs.push_back({"switch_length", frequencies.switch_length});
    attrs.push_back({"long_inv_freq", std::vector<double>(frequencies.long_inv_freq.begin(),
                                                          frequencies.long_inv_freq.end())});
    attrs.push_back({"dynamic_theta", frequencies.dynamic_theta});
    attrs.push_back({"dynamic_factor", frequencies.dynamic_factor});
  }
  const std::vector<Value> tables =
      position_ids.builder().op_n<2>("rotary_embedding", {position_ids}, attrs);
  return {tables[0], tables[1]};
}

/// The tables of a step, computed once and shared by all layers.
struct RotaryEmbedding : Module<RotaryEmbedding> {
  static constexpr const char* kClass = "RotaryEmbedding";
  RopeFrequencies frequencies;
  RopeStyle layout;

  RotaryEmbedding(const Scope& s, RopeFrequencies f, RopeStyle style = RopeStyle::kHalf)
      : Module(s), frequencies(std::move(f)), layout(style) {}

  PositionEmbeddings forward(const Value& position_ids) const {
    return rotary_tables(position_ids, frequencies, layout);
  }
};

/// As CohereRotaryEmbedding: tables for neighbours.
struct InterleavedRotaryEmbedding : RotaryEmbedding {
  InterleavedRotaryEmbedding(const Scope& s, RopeFrequencies f)
      : RotaryEmbedding(s, std::move(f), RopeStyle::kInterleaved) {}
};

/// x [T, heads, head_dim]: the first rotary_dim channels of every head turned, the rest passed on.
inline Value apply_rotary_pos_emb(const Value& x, const PositionEmbeddings& position_embeddings,
                                  RopeStyle style = RopeStyle::kHalf) {
  return x.builder().op("rope", {x, position_embeddings.cos, position_embeddings.sin},
                        {{"style", rope_style_name(style)}});
}

}  // namespace lockstep
