// Frequencies of rotary position embeddings as config.json asks for them.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lockstep/config.h"
#include "lockstep/nn/rope_frequencies.h"

namespace lockstep {

/// How many channels of a head are rotated where only a part is: `partial_rotary_factor` of them,
/// rounded down. `default_factor` is the reference config class's.
inline int64_t partial_rotary_dim(const Config& config, int64_t head_dim,
                                  double default_factor = 1) {
  const Config rope = config.at("rope_parameters");
  const double factor = rope.positive("partial_rotary_factor", default_factor);
  if (factor > 1) {
    throw Error(ErrorCode::kOutOfRange, rope.where("partial_rotary_factor") +
                                            ": expected at most 1, found " +
                                            std::to_string(factor));
  }
  return static_cast<int64_t>(static_cast<double>(head_dim) * factor);
}

/// What the reference's config class says where config.json does not.
struct RopeDefaults {
  double theta = 10000;
  std::optional<double> max_position_embeddings = {};
};

namespace internal {

/// One object of rope parameters for a rotation of `rotary_dim` channels.
class RopeReader {
 public:
  RopeReader(const Config& rope, int64_t rotary_dim, const RopeDefaults& defaults)
      : rope_(rope),
        builder_(rope.builder()),
        rotary_dim_(rotary_dim),
        defaults_(defaults),
        theta_(rope.positive("rope_theta", defaults.theta)) {}

  RopeFrequencies read() const {
    const std::string type = rope_.text("rope_type", "default");
    if (type == "default") return {plain()};
    if (type == "linear") return {linear_inv_freq(plain(), rope_.positive("factor"))};
    if (type == "dynamic") return dynamic();
    if (type == "llama3") return {llama3()};
    if (type == "yarn") return yarn();
    if (type == "longrope") return longrope();
    if (type == "proportional") return {proportional()};
    throw Error(ErrorCode::kUnimplemented,
                rope_.where("rope_type") +
                    ": expected default, linear, dynamic, llama3, yarn, longrope or "
                    "proportional, found " +
                    type,
                "this build has no such rotary scaling");
  }

 private:
  std::vector<float> plain() const { return default_inv_freq(builder_, theta_, rotary_dim_); }

  double max_positions() const {
    return Config(builder_).positive("max_position_embeddings", defaults_.max_position_embeddings);
  }

  /// `factor`, or by how much the context was made longer.
  double factor_for(double original) const {
    return rope_.has("factor") ? rope_.positive("factor") : max_positions() / original;
  }

  RopeFrequencies dynamic() const {
    if (rotary_dim_ < 4) {
      throw Error(ErrorCode::kInvalidArgument,
                  rope_.where("rope_type") + ": dynamic: expected 4 channels or more, found " +
                      std::to_string(rotary_dim_));
    }
    RopeFrequencies result{plain()};
    result.switch_length = static_cast<int64_t>(max_positions());
    result.dynamic_theta = theta_;
    result.dynamic_factor = rope_.positive("factor");
    return result;
  }

  std::vector<float> llama3() const {
    const double low = rope_.positive("low_freq_factor");
    const double high = rope_.positive("high_freq_factor");
    if (!(low < high)) {
      throw Error(ErrorCode::kOutOfRange,
                  rope_.where("high_freq_factor") + ": expected more than low_freq_factor " +
                      std::to_string(low) + ", found " + std::to_string(high));
    }
    return llama3_inv_freq(plain(), rope_.positive("factor"), low, high,
                           rope_.positive("original_max_position_embeddings"));
  }

  RopeFrequencies yarn() const {
    YarnRule rule;
    rule.original_length = rope_.positive("original_max_position_embeddings");
    rule.factor = factor_for(rule.original_length);
    rule.beta_fast = rope_.positive("beta_fast", 32);
    rule.beta_slow = rope_.positive("beta_slow", 1);
    rule.truncate = rope_.flag("truncate", true);
    const double mscale = rope_.number("mscale", 0), all_dim = rope_.number("mscale_all_dim", 0);
    if (mscale != 0 && all_dim != 0) {
      rule.attention_factor = yarn_mscale(rule.factor, mscale) / yarn_mscale(rule.factor, all_dim);
    }
    if (rope_.has("attention_factor")) rule.attention_factor = rope_.number("attention_factor");
    return yarn_frequencies(builder_, rule, theta_, rotary_dim_);
  }

  std::vector<double> factors(const char* key) const {
    std::vector<double> values = rope_.numbers(key);
    if (static_cast<int64_t>(values.size()) != rotary_dim_ / 2) {
      throw Error(ErrorCode::kInvalidArgument,
                  rope_.where(key) + ": expected " + std::to_string(rotary_dim_ / 2) +
                      " numbers, one a frequency, found " + std::to_string(values.size()));
    }
    return values;
  }

  RopeFrequencies longrope() const {
    const double original = rope_.positive("original_max_position_embeddings");
    const double factor = factor_for(original);
    const double scaling = factor <= 1 ? 1.0 : std::sqrt(1 + std::log(factor) / std::log(original));
    RopeFrequencies result{default_inv_freq(builder_, theta_, rotary_dim_, factors("short_factor")),
                           rope_.number("attention_factor", scaling)};
    result.switch_length = static_cast<int64_t>(original);
    result.long_inv_freq = default_inv_freq(builder_, theta_, rotary_dim_, factors("long_factor"));
    return result;
  }

  /// A share of the frequencies of all channels; the other channels do not turn.
  std::vector<float> proportional() const {
    const double share = rope_.positive("partial_rotary_factor", 1);
    const auto n = static_cast<int64_t>(std::floor(share * static_cast<double>(rotary_dim_) / 2));
    std::vector<float> inv_freq =
        default_inv_freq(builder_, theta_, rotary_dim_, {}, std::min(n, rotary_dim_ / 2));
    inv_freq.resize(static_cast<size_t>(rotary_dim_ / 2));
    return linear_inv_freq(std::move(inv_freq), rope_.positive("factor", 1));
  }

  const Config& rope_;
  Builder& builder_;
  int64_t rotary_dim_;
  const RopeDefaults& defaults_;
  double theta_;
};

}  // namespace internal

/// Reads one object of rope parameters for a rotation of `rotary_dim` channels.
inline RopeFrequencies rope_frequencies_of(const Config& rope, int64_t rotary_dim,
                                           const RopeDefaults& defaults) {
  if (rotary_dim < 2 || rotary_dim % 2 != 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "rotary embedding: expected an even number of channels, found " +
                    std::to_string(rotary_dim),
                "check head_dim and partial_rotary_factor in config.json");
  }
  return internal::RopeReader(rope, rotary_dim, defaults).read();
}
inline RopeFrequencies rope_frequencies_of(const Config& rope, int64_t rotary_dim,
                                           double default_theta) {
  return rope_frequencies_of(rope, rotary_dim, RopeDefaults{default_theta});
}

/// The same for `rope_parameters` (`rope_theta` and `rope_scaling` in older configs).
inline RopeFrequencies rope_frequencies(const Config& config, int64_t rotary_dim,
                                        const RopeDefaults& defaults) {
  return rope_frequencies_of(config.at("rope_parameters"), rotary_dim, defaults);
}
inline RopeFrequencies rope_frequencies(const Config& config, int64_t rotary_dim,
                                        double default_theta) {
  return rope_frequencies(config, rotary_dim, RopeDefaults{default_theta});
}

/// What scores are multiplied with where DeepSeek's references scale frequencies: `scaling` times
/// mscale squared, as their yarn_apply_mscale (transformers 5.17; older V2 left it out).
inline double yarn_apply_mscale(const Config& c, double scaling) {
  const Config parameters = c.at("rope_parameters");
  const double all_dim = parameters.number("mscale_all_dim", 0);
  if (parameters.text("rope_type", "default") == "default" || all_dim == 0) return scaling;
  const double mscale = yarn_mscale(parameters.positive("factor"), all_dim);
  return scaling * mscale * mscale;
}

}  // namespace lockstep
