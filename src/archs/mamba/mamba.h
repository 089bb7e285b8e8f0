// Mamba. Mirrors transformers models/mamba/modeling_mamba.py (5.x), its slow_forward; member names
// are the reference's module names, so they bind the weights and name the taps.
#pragma once

#include "lockstep/lockstep.h"

namespace lockstep::mamba {

// The keys of MambaConfig that the computation reads, with MambaConfig's defaults.
struct MambaConfig {
  int64_t vocab_size, hidden_size, state_size, num_hidden_layers, intermediate_size, conv_kernel;
  int64_t time_step_rank;
  double layer_norm_epsilon;
  std::string hidden_act;
  Bias use_bias, use_conv_bias;
  bool residual_in_fp32, tie_word_embeddings;

  explicit MambaConfig(const Config& c)
      : vocab_size(c.size("vocab_size", 50280)),
        hidden_size(c.size("hidden_size", 768)),
        state_size(c.size("state_size", 16)),
        num_hidden_layers(c.layers("num_hidden_layers", 32)),
        intermediate_size(c.derived_size("intermediate_size", c.size("expand", 2) * hidden_size)),
        conv_kernel(c.size("conv_kernel", 4)),
        time_step_rank(time_step_rank_of(c, hidden_size)),
        layer_norm_epsilon(c.positive("layer_norm_epsilon", 1e-5)),
        hidden_act(c.text("hidden_act", "silu")),
        use_bias(Bias{c.flag("use_bias", false)}),
        use_conv_bias(Bias{c.flag("use_conv_bias", true)}),
        residual_in_fp32(c.flag("residual_in_fp32", true)),
        tie_word_embeddings(c.flag("tie_word_embeddings", true)) {
    // How the reference scans and what it initialises with: no matter of the result.
    for (const char* key :
         {"time_step_scale", "time_step_min", "time_step_max", "time_step_init_scheme",
          "time_step_floor", "rescale_prenorm_residual", "use_mambapy", "use_associative_scan"}) {
      (void)c.has(key);
    }
  }

  // A number, or "auto": a sixteenth of the width, rounded up.
  static int64_t time_step_rank_of(const Config& c, int64_t hidden_size) {
    const int64_t automatic = (hidden_size + 15) / 16;
    if (!c.is_text("time_step_rank")) return c.size("time_step_rank", automatic);
    if (c.text("time_step_rank") == "auto") return automatic;
    throw Error(ErrorCode::kInvalidArgument, c.where("time_step_rank") +
                                                 ": expected a number or auto, found " +
                                                 c.text("time_step_rank"));
  }
};

struct Mixer : Module<Mixer> {
  static constexpr const char* kClass = "MambaMixer";
  MambaConfig config;
  CausalConv1d conv1d;
  Activation act;
  Linear in_proj, x_proj, dt_proj;
  Value A_log, D;
  Linear out_proj;

  Mixer(const Scope& s, const MambaConfig& c)
      : Module(s),
        config(c),
        conv1d(s / "conv1d", c.intermediate_size, c.conv_kernel, c.use_conv_bias),
        act(s / "act", c.hidden_act),
        in_proj(s / "in_proj", c.hidden_size, 2 * c.intermediate_size, c.use_bias),
        x_proj(s / "x_proj", c.intermediate_size, c.time_step_rank + 2 * c.state_size),
        dt_proj(s / "dt_proj", c.time_step_rank, c.intermediate_size, Bias::kYes),
        A_log(s.parameter("A_log", {c.intermediate_size, c.state_size})),
        D(s.parameter("D", {c.intermediate_size})),
        out_proj(s / "out_proj", c.intermediate_size, c.hidden_size, c.use_bias) {}

  Value forward(const Step& step, const Value& input_states) const {
    const MambaConfig& c = config;
    const State conv_state = step.conv_state(c.intermediate_size, c.conv_kernel);
    const State ssm_state = step.ssm_state({c.intermediate_size, c.state_size});
    const Value projected = in_proj(input_states);
    const Value gate = slice(projected, c.intermediate_size, 2 * c.intermediate_size);
    const Value convolved = conv1d(step, slice(projected, 0, c.intermediate_size), conv_state);
    step.tap(conv_state);
    const Value x = act(convolved);
    const Value ssm_parameters = x_proj(x);
    const int64_t b_end = c.time_step_rank + c.state_size;
    const Value time_step = slice(ssm_parameters, 0, c.time_step_rank);
    const Value B = slice(ssm_parameters, c.time_step_rank, b_end);
    const Value C = slice(ssm_parameters, b_end, b_end + c.state_size);
    const Value discrete_time_step = dt_proj(time_step);
    const Value scan_output = step.selective_scan(
        {.x = x, .B = B, .C = C, .dt = discrete_time_step, .A_log = A_log, .D = D}, ssm_state);
    step.tap(ssm_state);
    return out_proj(to_activation(scan_output * act(to_float32(gate))));
  }
};

struct Mamba {
  static constexpr const char* kCausalLM = "MambaForCausalLM";
  static constexpr const char* kModel = "MambaModel";
  static constexpr const char* kBlock = "MambaBlock";
  using Config = MambaConfig;
  using Mixer = mamba::Mixer;
};

using MambaForCausalLM = MambaCausalLM<Mamba>;

}  // namespace lockstep::mamba
