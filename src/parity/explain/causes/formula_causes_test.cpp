// The causes by formula on made-up sites: each names what was done, and what nobody named stays
// undecided.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>

#include "parity/explain/causes/formula.h"
#include "parity/explain/judge_site.h"
#include "parity/measure/attention.h"
#include "parity/measure/norm.h"
#include "parity/measure/rotation.h"
#include "parity/measure/test_matrices.h"

namespace lockstep::parity {
namespace {

using measure::kBar;
using measure::kNoise;

constexpr int64_t kTokens = 24, kHeads = 4, kWidth = 8;

// One op on given operands, known by its dumps alone.
class MadeUpSite : public Site {
 public:
  MadeUpSite(const std::string& op, Attrs attrs, const std::map<std::string, Array>& operands) {
    run = "float32-p0-prefill";
    dtype = "float32";
    path = "model.layers.1.part";
    bar = kBar;
    SiteStep step;
    step.op = op;
    step.attrs = std::move(attrs);
    for (const auto& [role, values] : operands) {
      Operand operand;
      operand.role = role;
      operand.name = "given." + role;
      operand.shape = values.shape;
      step.operands.push_back(operand);
      values_[operand.name] = values;
    }
    steps = {step};
    geometry.n_tokens = kTokens;
    geometry.layer = 1;
    geometry.head_dim = kWidth;
    for (int64_t t = 0; t < kTokens; ++t) positions.push_back(t);
  }

  /// What both sides have, each with noise of its own.
  void set(const Array& port_value, const Array& reference_value) {
    port = measure::noisy(port_value, kNoise, 1);
    reference = measure::noisy(reference_value, kNoise, 2);
    effect = distance(port, reference);
  }
  std::map<std::string, Array> checkpoint;
  std::vector<std::pair<std::string, double>> config;

  const Array* value(const Operand& operand) const override { return &values_.at(operand.name); }
  std::optional<Array> replay(const Change&) const override { return {}; }
  bool has_graph() const override { return false; }
  std::optional<double> sound_error() const override { return {}; }
  const Array* tap(const std::string&) const override { return nullptr; }
  std::vector<std::string> tap_paths() const override { return {}; }
  const Array* stored(const std::string& name) const override {
    const auto at = checkpoint.find(name);
    return at == checkpoint.end() ? nullptr : &at->second;
  }
  std::vector<std::string> stored_names() const override {
    std::vector<std::string> names;
    for (const auto& [name, values] : checkpoint) names.push_back(name);
    return names;
  }
  const Array* weight(const std::string&) const override { return nullptr; }
  std::vector<std::string> weight_paths() const override { return {}; }
  std::optional<double> config_number(std::string_view key) const override {
    for (const auto& [name, number] : config) {
      if (name == key) return number;
    }
    return {};
  }
  std::optional<std::string> config_text(std::string_view) const override { return {}; }
  std::vector<std::pair<std::string, double>> config_numbers() const override { return config; }

 private:
  std::map<std::string, Array> values_;
};

std::string named(const MadeUpSite& site) {
  const SiteJudgement judgement = judge_site(site);
  if (judgement.verdict == CauseVerdict::kUndecided) return "undecided";
  return std::string(judgement.ranked.front().cause->id);
}

Array heads(uint64_t seed) {
  Array x = measure::random_matrix(kTokens * kHeads, kWidth, seed);
  x.shape = {kTokens, kHeads, kWidth};
  return x;
}

std::vector<double> powers(double base) {
  std::vector<double> frequency;
  for (int64_t j = 0; j < kWidth / 2; ++j) {
    frequency.push_back(std::pow(base, -2 * static_cast<double>(j) / kWidth));
  }
  return frequency;
}

TEST(FormulaCauses, Rotations) {
  const Array x = heads(1);
  std::vector<double> positions(kTokens);
  std::iota(positions.begin(), positions.end(), 0);
  const measure::Rotation sound{measure::Pairing::kHalf, 0, kWidth, powers(5e5), 0, 1};
  const auto named_with = [&](const measure::Rotation& wrong) {
    MadeUpSite site("rope", {}, {{"x", x}});
    site.config = {{"rope_theta", 5e5}};
    site.set(measure::rotate(x, positions, wrong), measure::rotate(x, positions, sound));
    return named(site);
  };
  measure::Rotation wrong = sound;
  wrong.frequency = powers(1e4);
  EXPECT_EQ(named_with(wrong), "rotary_base");
  wrong = sound;
  wrong.pairing = measure::Pairing::kInterleaved;
  EXPECT_EQ(named_with(wrong), "rotation_style");
  wrong = sound;
  wrong.offset = 1;
  EXPECT_EQ(named_with(wrong), "rotation_offset");
  wrong = sound;
  wrong.factor = 1.2608;
  EXPECT_EQ(named_with(wrong), "rotation_factor");
  wrong = sound;
  for (double& f : wrong.frequency) f = -f;
  EXPECT_EQ(named_with(wrong), "rotation_sign");
  wrong.frequency = powers(5e5);
  for (double& f : wrong.frequency) f *= 1 + 0.3 * std::sin(100 * f);
  EXPECT_EQ(named_with(wrong), "undecided");
}

TEST(FormulaCauses, Norms) {
  const Array x = measure::sum(measure::scaled(heads(2), 0.05),
                               measure::scaled(measure::random_matrix(1, kWidth, 7), 0.02));
  const Array w = measure::random_matrix(1, kWidth, 3);
  Attrs attrs;
  attrs.set("eps", 1e-6);
  const auto named_with = [&](const measure::NormForm& wrong) {
    MadeUpSite site("rms_norm", attrs, {{"x", x}, {"weight", w}});
    site.set(measure::norm(x, w, {}, wrong), measure::norm(x, w, {}, {}));
    return named(site);
  };
  measure::NormForm wrong;
  wrong.centre = measure::Centre::kMean;
  EXPECT_EQ(named_with(wrong), "norm_centring");
  wrong = {};
  wrong.weight_offset = 1;
  EXPECT_EQ(named_with(wrong), "norm_unit_offset");
  wrong = {};
  wrong.squares = measure::Squares::kSum;
  wrong.eps = 3e-4;
  EXPECT_EQ(named_with(wrong), "undecided");
}

TEST(FormulaCauses, AttentionMasksAndUnknownMixtures) {
  const Array q = heads(1), k = heads(2), v = heads(3);
  Attrs attrs;
  attrs.set("scale", 0.35);
  measure::AttentionForm sound;
  sound.scale = 0.35;
  sound.map = measure::repeated_heads(kHeads, kHeads);
  const measure::AttentionInputs in{q, k, v, 0};
  const auto site_with = [&](const Array& port) {
    MadeUpSite site("attention", attrs, {{"q", q}, {"k", k}, {"v", v}});
    site.set(port, measure::attend(in, sound));
    return site;
  };
  measure::AttentionForm wrong = sound;
  wrong.ahead = 4;
  EXPECT_EQ(named(site_with(measure::attend(in, wrong))), "causal_mask");
  wrong = sound;
  wrong.map = {1, 0, 3, 2};
  EXPECT_EQ(named(site_with(measure::attend(in, wrong))), "head_map");
  // A tenth of another head in each.
  Array mixed = measure::attend(in, sound);
  const Array other = measure::attend(in, wrong);
  for (size_t i = 0; i < mixed.values.size(); ++i) mixed.values[i] += 0.1 * other.values[i];
  EXPECT_EQ(named(site_with(mixed)), "undecided");
}

TEST(FormulaCauses, Projections) {
  const Array x = measure::random_matrix(kTokens, 32, 1);
  const Array w = measure::random_matrix(16, 32, 2), b = measure::random_matrix(1, 16, 3);
  const Array sound = measure::sum(measure::product(x, w), b);
  const auto site_with = [&](const Array& port) {
    MadeUpSite site("linear", {}, {{"x", x}, {"weight", w}, {"bias", b}});
    site.set(port, sound);
    return site;
  };
  EXPECT_EQ(named(site_with(measure::sum(sound, b))), "projection_bias");
  const Array half =
      measure::product(measure::column_range(x, 0, 16), measure::column_range(w, 0, 16));
  EXPECT_EQ(named(site_with(measure::sum(half, b))), "partial_sum");
  EXPECT_EQ(named(site_with(measure::scaled(measure::sum(half, half), 0.7))), "undecided");
  Array squashed = sound;
  for (double& y : squashed.values) y = 4 * std::tanh(y / 4);
  EXPECT_EQ(named(site_with(squashed)), "undecided");
  Array negated = sound;
  for (int64_t r = 0; r < kTokens; ++r) measure::at(negated, r, 3) *= -1;
  EXPECT_EQ(named(site_with(negated)), "undecided");
}

}  // namespace
}  // namespace lockstep::parity
