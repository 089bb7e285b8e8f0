// Frequencies of rotary position embeddings: the formulas of transformers' modeling_rope_utils, in
// its float32 arithmetic.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <vector>

#include "lockstep/builder.h"

namespace lockstep {

/// What turns at which position. A scaling that depends on the length of the sequence so far is
/// that of a reference fed token by token: each position turns by what its own length asks for.
struct RopeFrequencies {
  std::vector<float> inv_freq;  // [rotary_dim / 2]
  double attention_scaling = 1;
  /// Positions from here on turn by another rule; 0: none do.
  int64_t switch_length = 0;
  std::vector<float> long_inv_freq = {};         ///< That rule: these ("longrope"), or else
  double dynamic_theta = 0, dynamic_factor = 0;  ///< a base that grows with the length ("dynamic").
};

/// theta^(-2i / rotary_dim) for i < n, every step rounded to float32 as torch does, times scale[i]
/// where given: 1 / (scale * theta^...).
inline std::vector<float> default_inv_freq(Builder& builder, double theta, int64_t rotary_dim,
                                           const std::vector<double>& scale = {},
                                           std::optional<int64_t> n = {}) {
  std::vector<float> exponents;
  for (int64_t i = 0; i < n.value_or(rotary_dim / 2); ++i) {
    exponents.push_back(static_cast<float>(2 * i) / static_cast<float>(rotary_dim));
  }
  std::vector<float> inv_freq = builder.powers(static_cast<float>(theta), exponents);
  for (size_t i = 0; i < inv_freq.size(); ++i) {
    inv_freq[i] = 1.0f / (scale.empty() ? inv_freq[i] : static_cast<float>(scale[i]) * inv_freq[i]);
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
/// scalar over a tensor is the scalar times the reciprocal there.
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

/// The keys of a yarn object.
struct YarnRule {
  double factor, original_length;
  double beta_fast = 32, beta_slow = 1;
  bool truncate = true;
  std::optional<double> attention_factor = {};
};

/// Yarn: short wavelengths are kept, long ones divided by `factor`, with a ramp between
/// (_compute_yarn_parameters).
inline RopeFrequencies yarn_frequencies(Builder& builder, const YarnRule& rule, double theta,
                                        int64_t rotary_dim) {
  const auto dim_of = [&](double rotations) {
    return static_cast<double>(rotary_dim) *
           std::log(rule.original_length / (rotations * 2 * 3.14159265358979323846)) /
           (2 * std::log(theta));
  };
  double low = dim_of(rule.beta_fast), high = dim_of(rule.beta_slow);
  if (rule.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rotary_dim - 1));
  if (low == high) high += 0.001;

  const std::vector<float> extrapolated = default_inv_freq(builder, theta, rotary_dim);
  const std::vector<double> factors(extrapolated.size(), rule.factor);
  const std::vector<float> interpolated = default_inv_freq(builder, theta, rotary_dim, factors);
  RopeFrequencies result{{}, rule.attention_factor.value_or(yarn_mscale(rule.factor, 1))};
  for (size_t i = 0; i < extrapolated.size(); ++i) {
    const float offset = static_cast<float>(i) - static_cast<float>(low);
    const float ramp = std::clamp(offset / static_cast<float>(high - low), 0.0f, 1.0f);
    const float kept = 1.0f - ramp;
    const float stretched = interpolated[i] * (1.0f - kept);
    const float unchanged = extrapolated[i] * kept;
    result.inv_freq.push_back(stretched + unchanged);
  }
  return result;
}

}  // namespace lockstep
