// Mamba 2. Mirrors transformers models/mamba2/modeling_mamba2.py (5.x), its torch_forward; member
// names are the reference's module names, so they bind the weights and name the taps.
#pragma once

#include <limits>

#include "lockstep/lockstep.h"

namespace lockstep::mamba2 {

// The keys of Mamba2Config that the computation reads, with Mamba2Config's defaults.
struct Mamba2Config {
  int64_t vocab_size, hidden_size, num_hidden_layers, num_heads, head_dim;
  int64_t state_size, conv_kernel, n_groups, intermediate_size, conv_dim;
  double layer_norm_epsilon, dt_min, dt_max;
  std::string hidden_act;
  Bias use_bias, use_conv_bias;
  bool residual_in_fp32, tie_word_embeddings;

  explicit Mamba2Config(const Config& c)
      : vocab_size(c.size("vocab_size", 32768)),
        hidden_size(c.size("hidden_size", 4096)),
        num_hidden_layers(c.layers("num_hidden_layers", 64)),
        num_heads(c.size("num_heads", 128)),
        head_dim(c.size("head_dim", 64)),
        state_size(c.size("state_size", 128)),
        conv_kernel(c.size("conv_kernel", 4)),
        n_groups(c.size("n_groups", 8)),
        intermediate_size(c.size("expand", 2) * hidden_size),
        conv_dim(intermediate_size + 2 * n_groups * state_size),
        layer_norm_epsilon(c.positive("layer_norm_epsilon", 1e-5)),
        dt_min(c.at("time_step_limit").bound("0", 0.0)),
        dt_max(c.at("time_step_limit").bound("1", std::numeric_limits<double>::infinity())),
        hidden_act(c.text("hidden_act", "silu")),
        use_bias(Bias{c.flag("use_bias", false)}),
        use_conv_bias(Bias{c.flag("use_conv_bias", true)}),
        residual_in_fp32(c.flag("residual_in_fp32", true)),
        tie_word_embeddings(c.flag("tie_word_embeddings", false)) {
    if (intermediate_size != num_heads * head_dim) {
      throw Error(ErrorCode::kInvalidArgument,
                  c.where("num_heads") + ": expected num_heads * head_dim to be expand * " +
                      "hidden_size, " + std::to_string(intermediate_size) + ", found " +
                      std::to_string(num_heads * head_dim));
    }
    // How the reference splits its scan and what it initialises with: no matter of the result.
    for (const char* key : {"chunk_size", "time_step_rank", "time_step_min", "time_step_max",
                            "time_step_floor", "rescale_prenorm_residual", "rms_norm"}) {
      (void)c.has(key);
    }
  }
};

struct Mixer : Module<Mixer> {
  static constexpr const char* kClass = "Mamba2Mixer";
  Mamba2Config config;
  Linear in_proj, out_proj;
  CausalConv1d conv1d;
  Activation act;
  GatedRMSNorm norm;
  Value A_log, D, dt_bias;

  Mixer(const Scope& s, const Mamba2Config& c)
      : Module(s),
        config(c),
        in_proj(s / "in_proj", c.hidden_size, c.intermediate_size + c.conv_dim + c.num_heads,
                c.use_bias),
        out_proj(s / "out_proj", c.intermediate_size, c.hidden_size, c.use_bias),
        conv1d(s / "conv1d", c.conv_dim, c.conv_kernel, c.use_conv_bias),
        act(s / "act", c.hidden_act),
        norm(s / "norm", c.intermediate_size, c.layer_norm_epsilon),
        A_log(s.parameter("A_log", {c.num_heads})),
        D(s.parameter("D", {c.num_heads})),
        dt_bias(s.parameter("dt_bias", {c.num_heads})) {}

  Value forward(const Step& step, const Value& hidden_states) const {
    const Mamba2Config& c = config;
    const State conv_state = step.conv_state(c.conv_dim, c.conv_kernel);
    const State ssm_state = step.ssm_state({c.num_heads, c.head_dim, c.state_size});
    const Value projected = in_proj(hidden_states);
    const int64_t conv_end = c.intermediate_size + c.conv_dim;
    const Value gate = slice(projected, 0, c.intermediate_size);
    const Value dt = slice(projected, conv_end, conv_end + c.num_heads);
    const Value convolved =
        conv1d(step, slice(projected, c.intermediate_size, conv_end), conv_state);
    step.tap(conv_state);
    const Value x_B_C = act(convolved);
    const int64_t b_end = c.intermediate_size + c.n_groups * c.state_size;
    const Value x = split_heads(slice(x_B_C, 0, c.intermediate_size), c.head_dim);
    const Value B = split_heads(slice(x_B_C, c.intermediate_size, b_end), c.state_size);
    const Value C = split_heads(slice(x_B_C, b_end, c.conv_dim), c.state_size);
    const Value y = merge_heads(step.ssd_scan({.x = x,
                                               .B = B,
                                               .C = C,
                                               .dt = dt,
                                               .A_log = A_log,
                                               .D = D,
                                               .dt_bias = dt_bias,
                                               .dt_min = c.dt_min,
                                               .dt_max = c.dt_max},
                                              ssm_state));
    step.tap(ssm_state);
    const Value scan_output = norm(y, gate);
    return out_proj(to_activation(scan_output));
  }
};

struct Mamba2 {
  static constexpr const char* kCausalLM = "Mamba2ForCausalLM";
  static constexpr const char* kModel = "Mamba2Model";
  static constexpr const char* kBlock = "Mamba2Block";
  using Config = Mamba2Config;
  using Mixer = mamba2::Mixer;
};

using Mamba2ForCausalLM = MambaCausalLM<Mamba2>;

}  // namespace lockstep::mamba2
