// Rotary position embedding: the frequencies of transformers' modeling_rope_utils, its tables, and
// their application to q and k.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/config.h"
#include "lockstep/module.h"
#include "lockstep/step.h"

namespace lockstep {

/// Frequencies in the reference's float32 arithmetic. Powers are correctly rounded; torch's are not
/// always: 36 of 3,924 default frequencies differ from it, by one or two units in the last place.
struct RopeFrequencies {
  std::vector<float> inv_freq;  // [rotary_dim / 2]
  double attention_scaling = 1;
};

/// theta^(-2i / rotary_dim), every step rounded to float32 as torch does.
inline std::vector<float> default_inv_freq(double theta, int64_t rotary_dim) {
  std::vector<float> inv_freq;
  for (int64_t i = 0; i < rotary_dim; i += 2) {
    const float exponent = static_cast<float>(i) / static_cast<float>(rotary_dim);
    const auto power = static_cast<float>(
        std::pow(static_cast<double>(static_cast<float>(theta)), static_cast<double>(exponent)));
    inv_freq.push_back(1.0f / power);
  }
  return inv_freq;
}

/// Every frequency divided by `factor`, as float32 (_compute_linear_scaling_rope_parameters).
inline std::vector<float> linear_inv_freq(std::vector<float> inv_freq, double factor) {
  for (float& freq : inv_freq) freq /= static_cast<float>(factor);
  return inv_freq;
}

/// Llama 3.1: long wavelengths are divided by `factor`, middle ones blended
/// (_compute_llama3_parameters). Scalars enter torch's float32 arithmetic rounded to float32, and a
/// scalar over a tensor is the tensor's reciprocal times the scalar, two roundings.
inline std::vector<float> llama3_inv_freq(std::vector<float> inv_freq, double factor,
                                          double low_freq_factor, double high_freq_factor,
                                          double original_length) {
  const auto f = static_cast<float>(factor);
  const auto low_wavelen = static_cast<float>(original_length / low_freq_factor);
  const auto high_wavelen = static_cast<float>(original_length / high_freq_factor);
  for (float& freq : inv_freq) {
    const float wavelen = 1.0f / freq * static_cast<float>(2 * 3.14159265358979323846);
    const float scaled = wavelen > low_wavelen ? freq / f : freq;
    const bool medium = !(wavelen < high_wavelen) && !(wavelen > low_wavelen);
    if (!medium) {
      freq = scaled;
      continue;
    }
    const float quotient = 1.0f / wavelen * static_cast<float>(original_length);
    const float smooth = (quotient - static_cast<float>(low_freq_factor)) /
                         static_cast<float>(high_freq_factor - low_freq_factor);
    const float blended = (1.0f - smooth) * scaled / f;
    const float kept = smooth * scaled;
    freq = blended + kept;
  }
  return inv_freq;
}

/// The yarn paper's attention factor for a context `scale` times as long.
inline double yarn_mscale(double scale, double mscale) {
  return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0;
}

/// Yarn: short wavelengths are kept, long ones divided by `factor`, with a ramp between
/// (_compute_yarn_parameters).
inline RopeFrequencies yarn_frequencies(const Config& config, const Config& rope, double theta,
                                        int64_t rotary_dim) {
  const double original = rope.positive("original_max_position_embeddings");
  const double factor = rope.has("factor") ? rope.positive("factor")
                                           : config.positive("max_position_embeddings") / original;
  const double mscale = rope.number("mscale", 0), all_dim = rope.number("mscale_all_dim", 0);
  const double inferred = mscale != 0 && all_dim != 0
                              ? yarn_mscale(factor, mscale) / yarn_mscale(factor, all_dim)
                              : yarn_mscale(factor, 1);
  const auto dim_of = [&](double rotations) {
    return static_cast<double>(rotary_dim) *
           std::log(original / (rotations * 2 * 3.14159265358979323846)) / (2 * std::log(theta));
  };
  double low = dim_of(rope.positive("beta_fast", 32)), high = dim_of(rope.positive("beta_slow", 1));
  if (rope.flag("truncate", true)) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rotary_dim - 1));
  if (low == high) high += 0.001;

  RopeFrequencies result{{}, rope.number("attention_factor", inferred)};
  for (int64_t i = 0; i < rotary_dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(rotary_dim);
    const auto power = static_cast<float>(
        std::pow(static_cast<double>(static_cast<float>(theta)), static_cast<double>(exponent)));
    const float extrapolated = 1.0f / power;
    const float interpolated = 1.0f / (static_cast<float>(factor) * power);
    const float offset = static_cast<float>(i) - static_cast<float>(low);
    const float ramp = std::clamp(offset / static_cast<float>(high - low), 0.0f, 1.0f);
    const float kept = 1.0f - ramp;
    const float stretched = interpolated * (1.0f - kept);
    const float unchanged = extrapolated * kept;
    result.inv_freq.push_back(stretched + unchanged);
  }
  return result;
}

/// Reads one object of rope parameters for a rotation of `rotary_dim` channels. `default_theta` is
/// the reference config class's.
inline RopeFrequencies rope_frequencies_of(const Config& rope, int64_t rotary_dim,
                                           double default_theta) {
  const std::string type = rope.text("rope_type", "default");
  const double theta = rope.positive("rope_theta", default_theta);
  if (rotary_dim < 2 || rotary_dim % 2 != 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "rotary embedding: expected an even number of channels, found " +
                    std::to_string(rotary_dim),
                "check head_dim and partial_rotary_factor in config.json");
  }
  RopeFrequencies frequencies{default_inv_freq(theta, rotary_dim)};
  if (type == "default") return frequencies;
  if (type == "linear") {
    frequencies.inv_freq =
        linear_inv_freq(std::move(frequencies.inv_freq), rope.positive("factor"));
    return frequencies;
  }
  if (type == "llama3") {
    const double low = rope.positive("low_freq_factor");
    const double high = rope.positive("high_freq_factor");
    if (!(low < high)) {
      throw Error(ErrorCode::kOutOfRange,
                  rope.where("high_freq_factor") + ": expected more than low_freq_factor " +
                      std::to_string(low) + ", found " + std::to_string(high));
    }
    frequencies.inv_freq =
        llama3_inv_freq(std::move(frequencies.inv_freq), rope.positive("factor"), low, high,
                        rope.positive("original_max_position_embeddings"));
    return frequencies;
  }
  if (type == "yarn") return yarn_frequencies(Config(rope.builder()), rope, theta, rotary_dim);
  throw Error(ErrorCode::kUnimplemented,
              rope.where("rope_type") + ": expected default, linear, llama3 or yarn, found " + type,
              "this build has no such rotary scaling");
}

/// The same for `rope_parameters` (`rope_theta` and `rope_scaling` in older configs).
inline RopeFrequencies rope_frequencies(const Config& config, int64_t rotary_dim,
                                        double default_theta) {
  return rope_frequencies_of(config.at("rope_parameters"), rotary_dim, default_theta);
}

/// How many channels of a head are rotated where only a part is: `partial_rotary_factor` of them,
/// rounded down. `default_factor` is the reference config class's.
inline int64_t partial_rotary_dim(const Config& config, int64_t head_dim, double default_factor) {
  const double factor =
      config.at("rope_parameters").positive("partial_rotary_factor", default_factor);
  return static_cast<int64_t>(static_cast<double>(head_dim) * factor);
}

/// How pairs of channels are formed: first half with second half (Llama, NeoX), or neighbours
/// (GPT-J, Cohere, GLM), or neighbours that become halves (DeepSeek; its tables are those of
/// kHalf).
enum class RopeStyle { kHalf, kInterleaved, kInterleavedToHalf };

inline const char* rope_style_name(RopeStyle style) {
  constexpr const char* kNames[] = {"half", "interleaved", "interleaved_to_half"};
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
  const std::vector<Value> tables =
      position_ids.builder().op_n<2>("rotary_embedding", {position_ids},
                                     {{"inv_freq", inv_freq},
                                      {"attention_scaling", frequencies.attention_scaling},
                                      {"layout", rope_style_name(layout)}});
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

/// x [T, heads, head_dim]: the first rotary_dim channels of every head turned, the rest passed on.
inline Value apply_rotary_pos_emb(const Value& x, const PositionEmbeddings& position_embeddings,
                                  RopeStyle style = RopeStyle::kHalf) {
  return x.builder().op("rope", {x, position_embeddings.cos, position_embeddings.sin},
                        {{"style", rope_style_name(style)}});
}

}  // namespace lockstep
