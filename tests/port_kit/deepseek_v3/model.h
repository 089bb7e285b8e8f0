// DeepseekV3ForCausalLM, the whole model.
//
// Derived from DeepseekV2ForCausalLM (lockstep/archs/deepseek_v2.h).
//
// Deltas implemented: 3.
#pragma once

#include "deepseek_v3.h"

namespace lockstep::port_deepseek_v3 {

using namespace lockstep::deepseek_v2;

struct DeepseekV3 : deepseek_v2::DeepseekV2 {
  static constexpr const char* kCausalLM = "DeepseekV3ForCausalLM";
  static constexpr const char* kModel = "DeepseekV3Model";
  static constexpr const char* kLayer = "DeepseekV3DecoderLayer";
  using Config = DeepseekV3Config;
  using Attention = port_deepseek_v3::Attention;
  using MLP = DenseThenSparse<GatedMLP, port_deepseek_v3::MoE>;
  using Layer = PreNormLayer<DeepseekV3>;
  using RotaryEmbedding = lockstep::RotaryEmbedding;
};

struct DeepseekV3ForCausalLM : CausalLM<DeepseekV3> {
  DeepseekV3ForCausalLM(const Scope& s, const Config& c) : CausalLM(s, c) {
    // Delta 3 (modeling_deepseek_v3.py:548): layers that predict further tokens are not run.
    for (int64_t i = 0; i < c.size("num_nextn_predict_layers", 1, 0, 64); ++i) {
      const std::string extra = "*layers." + std::to_string(config.num_hidden_layers + i) + ".*";
      s.builder().drop(extra.c_str(), "a layer that predicts further tokens");
    }
  }
};

}  // namespace lockstep::port_deepseek_v3
