// DeepSeek-V3. Mirrors transformers models/deepseek_v3/modeling_deepseek_v3.py (5.x). Attention
// reads the cached latents, so that kv_b_proj, called on the new tokens, computes only when it is
// tapped.
#include <cmath>
#include <optional>

#include "lockstep/lockstep.h"

namespace {
using namespace lockstep;

// A key that the reference writes but derives from others: there, it must agree.
int64_t derived(const Config& c, const char* key, int64_t value) {
  const int64_t found = c.size(key, value);
  if (found == value) return value;
  throw Error(ErrorCode::kInvalidArgument, c.where(key) + ": expected " + std::to_string(value) +
                                               " from the other keys, found " +
                                               std::to_string(found));
}

// The keys of DeepseekV3Config that the computation reads, with DeepseekV3Config's defaults.
struct DeepseekV3Config {
  int64_t vocab_size, hidden_size, intermediate_size, moe_intermediate_size, num_hidden_layers;
  int64_t num_attention_heads, n_shared_experts, n_routed_experts, kv_lora_rank;
  int64_t q_lora_rank;  // 0: queries are not compressed
  int64_t qk_rope_head_dim, v_head_dim, qk_nope_head_dim, first_k_dense_replace;
  double rms_norm_eps, scaling;
  std::string hidden_act;
  Bias attention_bias;
  RopeStyle rope_style;
  bool tie_word_embeddings;
  RoutingRule routing;
  RopeFrequencies rope;

  explicit DeepseekV3Config(const Config& c)
      : vocab_size(c.size("vocab_size", 129280)),
        hidden_size(c.size("hidden_size", 7168)),
        intermediate_size(c.size("intermediate_size", 18432)),
        moe_intermediate_size(c.size("moe_intermediate_size", 2048)),
        num_hidden_layers(c.layers("num_hidden_layers", 61)),
        num_attention_heads(c.size("num_attention_heads", 128)),
        n_shared_experts(c.size("n_shared_experts", 1)),
        n_routed_experts(c.size("n_routed_experts", 256)),
        kv_lora_rank(c.size("kv_lora_rank", 512)),
        q_lora_rank(c.is_null("q_lora_rank") ? 0 : c.size("q_lora_rank", 1536)),
        qk_rope_head_dim(c.size("qk_rope_head_dim", 64)),
        v_head_dim(c.size("v_head_dim", 128)),
        qk_nope_head_dim(c.size("qk_nope_head_dim", 128)),
        first_k_dense_replace(c.size("first_k_dense_replace", 3, 0)),
        rms_norm_eps(c.positive("rms_norm_eps", 1e-6)),
        scaling(1 / std::sqrt(static_cast<double>(qk_nope_head_dim + qk_rope_head_dim))),
        hidden_act(c.text("hidden_act", "silu")),
        attention_bias(Bias{c.flag("attention_bias", false)}),
        rope_style(c.flag("rope_interleave", true) ? RopeStyle::kInterleavedToHalf
                                                   : RopeStyle::kHalf),
        tie_word_embeddings(c.flag("tie_word_embeddings", false)),
        routing{.top_k = c.size("num_experts_per_tok", 8),
                .scoring = "sigmoid",
                .normalise = c.flag("norm_topk_prob", true),
                .scaling = c.number("routed_scaling_factor", 2.5),
                .n_group = c.size("n_group", 8),
                .topk_group = c.size("topk_group", 4)},
        rope(rope_frequencies(c, derived(c, "head_dim", qk_rope_head_dim),
                              {.max_position_embeddings = 4096})) {
    derived(c, "qk_head_dim", qk_nope_head_dim + qk_rope_head_dim);
    derived(c, "num_key_value_heads", num_attention_heads);
    const Config parameters = c.at("rope_parameters");
    const double all_dim = parameters.number("mscale_all_dim", 0);
    if (parameters.text("rope_type", "default") != "default" && all_dim != 0) {
      const double mscale = yarn_mscale(parameters.positive("factor"), all_dim);
      scaling *= mscale * mscale;
    }
  }
};

struct Attention : Module<Attention> {
  static constexpr const char* kClass = "DeepseekV3Attention";
  DeepseekV3Config c;
  std::optional<Linear> q_proj, q_a_proj, q_b_proj;
  std::optional<RMSNorm> q_a_layernorm;
  Linear kv_a_proj_with_mqa;
  RMSNorm kv_a_layernorm;
  Linear kv_b_proj, o_proj;

  Attention(const Scope& s, const DeepseekV3Config& config)
      : Module(s),
        c(config),
        kv_a_proj_with_mqa(s / "kv_a_proj_with_mqa", c.hidden_size,
                           c.kv_lora_rank + c.qk_rope_head_dim, c.attention_bias),
        kv_a_layernorm(s / "kv_a_layernorm", c.kv_lora_rank, 1e-6),
        kv_b_proj(s / "kv_b_proj", c.kv_lora_rank,
                  c.num_attention_heads * (c.qk_nope_head_dim + c.v_head_dim)),
        o_proj(s / "o_proj", c.num_attention_heads * c.v_head_dim, c.hidden_size,
               c.attention_bias) {
    const int64_t q_width = c.num_attention_heads * (c.qk_nope_head_dim + c.qk_rope_head_dim);
    if (c.q_lora_rank == 0) {
      q_proj.emplace(s / "q_proj", c.hidden_size, q_width);
      return;
    }
    q_a_proj.emplace(s / "q_a_proj", c.hidden_size, c.q_lora_rank, c.attention_bias);
    q_a_layernorm.emplace(s / "q_a_layernorm", c.q_lora_rank, 1e-6);
    q_b_proj.emplace(s / "q_b_proj", c.q_lora_rank, q_width);
  }

  Value queries(const Value& x) const {
    if (q_proj) return (*q_proj)(x);
    const Value compressed = (*q_a_proj)(x);
    const Value normed = (*q_a_layernorm)(compressed);
    return (*q_b_proj)(normed);
  }

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const int64_t nope = c.qk_nope_head_dim, rope = c.qk_rope_head_dim, rank = c.kv_lora_rank;
    const Value q = split_heads(queries(x), nope + rope);
    const Value q_pass = slice(q, 0, nope);
    const Value compressed_kv = kv_a_proj_with_mqa(x);
    const Value latent = kv_a_layernorm(slice(compressed_kv, 0, rank));
    const Value kv = split_heads(kv_b_proj(latent), nope + c.v_head_dim);

    const Value q_rot = apply_rotary_pos_emb(slice(q, nope, nope + rope), positions, c.rope_style);
    const Value k_pe = split_heads(slice(compressed_kv, rank, rank + rope), rope);
    const Value k_rot = apply_rotary_pos_emb(k_pe, positions, c.rope_style);
    Builder& b = step.builder();
    b.tap("q_rot", concat(q_pass, q_rot));
    b.tap("k_rot", concat(slice(kv, 0, nope), k_rot));
    b.tap("v", slice(kv, nope, nope + c.v_head_dim));
    return o_proj(merge_heads(step.attend_latent(q_pass, q_rot, latent, merge_heads(k_rot),
                                                 kv_b_proj.weight, {.scale = c.scaling})));
  }
};

struct TopkRouter : Module<TopkRouter> {
  static constexpr const char* kClass = "DeepseekV3TopkRouter";
  Value weight, e_score_correction_bias;

  TopkRouter(const Scope& s, const DeepseekV3Config& c)
      : Module(s),
        weight(s.parameter("weight", {c.n_routed_experts, c.hidden_size})),
        e_score_correction_bias(s.parameter("e_score_correction_bias", {c.n_routed_experts})) {}

  Value forward(const Value& x) const { return linear(to_float32(x), weight); }
};

struct MoE : Module<MoE> {
  static constexpr const char* kClass = "DeepseekV3MoE";
  RoutingRule rule;
  Experts experts;
  TopkRouter gate;
  GatedMLP shared_experts;

  MoE(const Scope& s, const DeepseekV3Config& c)
      : Module(s),
        rule(c.routing),
        experts(s / "experts", c.n_routed_experts, c.hidden_size, c.moe_intermediate_size,
                c.hidden_act),
        gate(s / "gate", c),
        shared_experts(s / "shared_experts", c.hidden_size,
                       c.moe_intermediate_size * c.n_shared_experts, c.hidden_act) {}

  Value forward(const Value& x) const {
    const Routing routing = route(gate(x), rule, gate.e_score_correction_bias);
    tap_routing(routing);
    const Value routed = experts(x, routing.ids, routing.weights);
    return routed + shared_experts(x);
  }
};

struct DecoderLayer : Module<DecoderLayer> {
  static constexpr const char* kClass = "DeepseekV3DecoderLayer";
  Attention self_attn;
  std::optional<GatedMLP> dense;
  std::optional<MoE> sparse;
  RMSNorm input_layernorm, post_attention_layernorm;

  DecoderLayer(const Scope& s, const DeepseekV3Config& c, int64_t layer)
      : Module(s),
        self_attn(s / "self_attn", c),
        input_layernorm(s / "input_layernorm", c.hidden_size, c.rms_norm_eps),
        post_attention_layernorm(s / "post_attention_layernorm", c.hidden_size, c.rms_norm_eps) {
    if (layer < c.first_k_dense_replace) {
      dense.emplace(s / "mlp", c.hidden_size, c.intermediate_size, c.hidden_act);
    } else {
      sparse.emplace(s / "mlp", c);
    }
  }

  Value forward(const Step& step, const Value& x, const PositionEmbeddings& positions) const {
    const Value attended = x + self_attn(step, input_layernorm(x), positions);
    const Value normed = post_attention_layernorm(attended);
    return attended + (dense ? (*dense)(normed) : (*sparse)(normed));
  }
};

struct DeepseekV3Model : Module<DeepseekV3Model> {
  static constexpr const char* kClass = "DeepseekV3Model";
  Embedding embed_tokens;
  Layers<DecoderLayer> layers;
  RMSNorm norm;
  RotaryEmbedding rotary_emb;

  DeepseekV3Model(const Scope& s, const DeepseekV3Config& c)
      : Module(s),
        embed_tokens(s / "embed_tokens", c.vocab_size, c.hidden_size),
        layers(c.num_hidden_layers,
               [&](int64_t i) { return DecoderLayer(s / "layers" / i, c, i); }),
        norm(s / "norm", c.hidden_size, c.rms_norm_eps),
        rotary_emb(s / "rotary_emb", c.rope) {}

  Value forward(const Step& step, const Value& input_ids) const {
    Value x = embed_tokens(input_ids);
    const PositionEmbeddings positions = rotary_emb(step.position_ids());
    for (const DecoderLayer& layer : layers) x = layer(step, x, positions);
    return norm(x);
  }
};

struct DeepseekV3ForCausalLM : Module<DeepseekV3ForCausalLM> {
  static constexpr const char* kClass = "DeepseekV3ForCausalLM";
  DeepseekV3Config config;
  DeepseekV3Model model;
  Linear lm_head;

  DeepseekV3ForCausalLM(const Scope& s, const Config& c)
      : Module(s),
        config(c),
        model(s / "model", config),
        lm_head(config.tie_word_embeddings
                    ? Linear(s / "lm_head", model.embed_tokens)
                    : Linear(s / "lm_head", config.hidden_size, config.vocab_size)) {
    s.builder().drop("*rotary_emb.inv_freq", "a buffer: computed from config.json");
    for (int64_t i = 0; i < c.size("num_nextn_predict_layers", 1, 0, 64); ++i) {
      const std::string extra = "*layers." + std::to_string(config.num_hidden_layers + i) + ".*";
      s.builder().drop(extra.c_str(), "a layer that predicts further tokens: not in forward()");
    }
  }

  Value forward(const Step& step) const {
    const Value hidden = model(step, step.input_ids());
    return lm_head(step.logits_to_keep(hidden));
  }
};

}  // namespace

LOCKSTEP_ARCHITECTURE(deepseek_v3, "DeepseekV3ForCausalLM", "model", DeepseekV3ForCausalLM)
LOCKSTEP_PORT(deepseek_v3)
