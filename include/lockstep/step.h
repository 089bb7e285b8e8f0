// What a step brings to forward(): ids, positions, caches. Named inputs of the graph, recorded and
// replaceable like any tap.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "lockstep/builder.h"
#include "lockstep/ops.h"

namespace lockstep {

/// What a sequence keeps from step to step, [slots, ...]: see Step::conv_state, Step::ssm_state.
struct State {
  const char* name;
  Value value;
};

class Step {
 public:
  explicit Step(Builder& builder) : builder_(&builder) {}

  Builder& builder() const { return *builder_; }
  /// int32 [T]
  Value input_ids() const { return builder_->input("@input_ids"); }
  /// int32 [T], absolute, from 0 in each sequence
  Value position_ids() const { return builder_->input("@positions"); }
  /// The rows whose logits are wanted (`logits_to_keep` of the reference). [T, H] -> [R, H]
  Value logits_to_keep(const Value& x) const {
    return gather_rows(x, builder_->input("@logit_rows"));
  }

  /// In which type the reference holds slope times position, where that is part of the model.
  enum class AlibiType { kFloat32, kBFloat16 };
  struct AttendOptions {
    double scale;         ///< Multiplies q k^T; the reference's `scaling`.
    int64_t window = 0;   ///< How many keys are seen, the query's own included; 0: all before it.
    double soft_cap = 0;  ///< Scores become soft_cap * tanh(score / soft_cap); 0: as they are.
    std::optional<Value> sinks = {};  ///< [heads], one more score a head, whose key has no value.
    /// One a head: slope * (key's position - query's) * alibi_scale is added to the scores.
    std::vector<double> alibi_slopes = {};
    double alibi_scale = 1;
    AlibiType alibi_type = AlibiType::kFloat32;
  };
  /// Causal attention over this sequence's cache, which the call declares: q [T, heads, k_dim],
  /// k [T, kv_heads, k_dim], v [T, kv_heads, v_dim] -> [T, heads, v_dim]. Query head h reads
  /// key/value head h / (heads / kv_heads). Taps q_rot, k_rot, v and context, as transformers'
  /// attention interface gets and gives them.
  Value attend(const Value& q, const Value& k, const Value& v, AttendOptions options) const {
    Builder& b = *builder_;
    b.tap("q_rot", q);
    b.tap("k_rot", k);
    b.tap("v", v);
    const Value k_cache = b.paged_cache("k_cache", k.size(-2), k.size(-1));
    const Value v_cache = b.paged_cache("v_cache", v.size(-2), v.size(-1));
    std::vector<Value> inputs = {q,
                                 k,
                                 v,
                                 b.input("@positions"),
                                 b.input("@row_offsets"),
                                 b.input("@page_offsets"),
                                 b.input("@pages"),
                                 k_cache,
                                 v_cache};
    if (options.sinks) inputs.push_back(*options.sinks);
    std::vector<Attr> attrs = {{"scale", options.scale}, {"window", options.window}};
    if (options.soft_cap != 0) attrs.push_back({"soft_cap", options.soft_cap});
    if (!options.alibi_slopes.empty()) {
      attrs.push_back({"alibi_slopes", options.alibi_slopes});
      attrs.push_back({"alibi_scale", options.alibi_scale});
      attrs.push_back(
          {"alibi_rounding", options.alibi_type == AlibiType::kBFloat16 ? "bfloat16" : "none"});
    }
    const Value context = b.op("attention", inputs, attrs);
    b.tap("context", context);
    return context;
  }

  /// The newest `window` inputs of a convolution, declared by the module call under way: zero when
  /// a sequence begins.
  State conv_state(int64_t channels, int64_t window) const {
    return {"conv_state",
            builder_->state("conv_state", {channels, window}, LOCKSTEP_CACHE_ACTIVATION)};
  }
  /// The state of a state-space model, as conv_state, in float32 whatever the type between modules.
  State ssm_state(std::initializer_list<int64_t> shape) const {
    return {"ssm_state", builder_->state("ssm_state", shape, LOCKSTEP_CACHE_FLOAT32)};
  }
  /// The state of the step's sequences, [S, ...], after what was built so far: the tap
  /// "<path>/<state's name>". Nothing is computed unless it is observed.
  void tap(const State& state) const {
    builder_->tap(state.name, gather_rows(state.value, builder_->input("@state_slots")));
  }

  /// Depthwise causal convolution over the tokens of each sequence: x [T, C], weight [C, 1, K] or
  /// [C, K] -> [T, C]. `state` has a window of K - 1 or K. `fn` is "none" or "silu".
  Value causal_conv(const Value& x, const Value& weight, const std::optional<Value>& bias,
                    const State& state, const std::string& fn = "none") const {
    Builder& b = *builder_;
    const Value rows = b.input("@row_offsets"), slots = b.input("@state_slots");
    return bias ? b.op("causal_conv", {x, weight, rows, slots, state.value, *bias}, {{"fn", fn}})
                : b.op("causal_conv", {x, weight, rows, slots, state.value}, {{"fn", fn}});
  }

  /// What a scan of Mamba 2 reads: x [T, H, P]; B, C [T, G, N]; dt [T, H] before its bias; the
  /// weights [H]; the limits of the step sizes.
  struct SsdScan {
    Value x, B, C, dt, A_log, D, dt_bias;
    double dt_min, dt_max;
  };
  /// The selective state-space scan of Mamba 2, with a state of [H, P, N] -> float32 [T, H, P].
  /// Taps the step sizes before their limits, dt.
  Value ssd_scan(const SsdScan& scan, const State& state) const {
    Builder& b = *builder_;
    const std::vector<Value> outputs =
        b.op_n<2>("ssd_scan",
                  {scan.x, scan.B, scan.C, scan.dt, scan.A_log, scan.D, scan.dt_bias,
                   b.input("@row_offsets"), b.input("@state_slots"), state.value},
                  {{"dt_min", scan.dt_min}, {"dt_max", scan.dt_max}});
    b.tap("dt", outputs[1]);
    return outputs[0];
  }

  /// What a scan of Mamba reads: x, dt [T, C], dt with its bias; B, C [T, N]; A_log [C, N]; D [C].
  struct SelectiveScan {
    Value x, B, C, dt, A_log, D;
  };
  /// The selective state-space scan of Mamba, with a state of [C, N] -> float32 [T, C]. Taps the
  /// step sizes, dt, and its result, scan.
  Value selective_scan(const SelectiveScan& scan, const State& state) const {
    Builder& b = *builder_;
    const std::vector<Value> outputs = b.op_n<2>(
        "selective_scan", {scan.x, scan.B, scan.C, scan.dt, scan.A_log, scan.D,
                           b.input("@row_offsets"), b.input("@state_slots"), state.value});
    b.tap("dt", outputs[1]);
    b.tap("scan", outputs[0]);
    return outputs[0];
  }

  /// What a gated delta rule reads: q, k [T, key_heads, K], as they are before their norms;
  /// v [T, heads, V]; a, beta [T, heads], a before its bias and softplus, beta within 0 to 1; the
  /// weights [heads].
  struct GatedDeltaRule {
    Value q, k, v, a, beta, A_log, dt_bias;
  };
  /// The gated delta rule, with a state of [heads, K, V] -> [T, heads, V]. Value head h reads key
  /// head h / (heads / key_heads). Taps v, the logarithms of the decays g, beta, and context.
  Value gated_delta_rule(const GatedDeltaRule& rule, const State& state) const {
    Builder& b = *builder_;
    b.tap("v", rule.v);
    b.tap("beta", rule.beta);
    const std::vector<Value> outputs = b.op_n<2>(
        "gated_delta_rule", {rule.q, rule.k, rule.v, rule.a, rule.beta, rule.A_log, rule.dt_bias,
                             b.input("@row_offsets"), b.input("@state_slots"), state.value});
    b.tap("g", outputs[1]);
    b.tap("context", outputs[0]);
    return outputs[0];
  }

  struct LatentOptions {
    double scale;  ///< As of AttendOptions.
  };
  /// Causal attention whose keys and values are kv_b latent, over this sequence's cache of latents,
  /// which the call declares: q_nope [T, heads, n], q_rot [T, heads, r], latent [T, rank],
  /// k_rot [T, r], kv_b [heads * (n + v_dim), rank] -> [T, heads, v_dim]. Tap context.
  Value attend_latent(const Value& q_nope, const Value& q_rot, const Value& latent,
                      const Value& k_rot, const Value& kv_b, LatentOptions options) const {
    Builder& b = *builder_;
    const Value cache = b.paged_cache("latent_cache", 1, latent.size(-1) + k_rot.size(-1));
    const Value context =
        b.op("latent_attention",
             {q_nope, q_rot, latent, k_rot, kv_b, b.input("@positions"), b.input("@row_offsets"),
              b.input("@page_offsets"), b.input("@pages"), cache},
             {{"scale", options.scale}});
    b.tap("context", context);
    return context;
  }

 private:
  Builder* builder_;
};

}  // namespace lockstep
