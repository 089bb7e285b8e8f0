// Rotary frequencies of every kind against what transformers 5.12.1 computes with torch 2.14.1 on a
// machine with AVX-512: tests/rope_frequencies.json, float32 as their bits.
#include <bit>

#include "graph/trace.h"
#include "lockstep/lockstep.h"
#include "ops/rotary_embedding/rotary_embedding.h"
#include "support.h"

namespace lockstep::test {
namespace {

constexpr double kMaxPositions = 2048;

int64_t g_dim = 0;
RopeFrequencies g_found;

// Reads its frequencies, and turns nothing.
struct Turning : Module<Turning> {
  static constexpr const char* kClass = "Turning";
  Embedding embed;
  Turning(const Scope& s, const Config& c) : Module(s), embed(s / "embed", 4, 4) {
    g_found = rope_frequencies(c, g_dim, {.max_position_embeddings = kMaxPositions});
  }
  Value forward(const Step& step) const { return step.logits_to_keep(embed(step.input_ids())); }
};

const LockstepArchitecture kTurning = {"Turning", "turning", "model",
                                       &lockstep::internal::build_model<Turning>};

RopeFrequencies read_frequencies(int64_t dim, const nlohmann::json& rope) {
  g_dim = dim;
  const ConfigFile config =
      ConfigFile::parse(nlohmann::json{{"rope_parameters", rope}}.dump(), "config.json");
  const Checkpoint checkpoint =
      Checkpoint::from_headers({{"embed.weight", DType::kFloat32, {4, 4}, 0, 64}});
  trace(kTurning, config, checkpoint, DType::kFloat32);
  return g_found;
}

std::vector<int32_t> bits_of(const std::vector<float>& values) {
  std::vector<int32_t> bits;
  for (const float value : values) bits.push_back(std::bit_cast<int32_t>(value));
  return bits;
}

TEST(RopeFrequenciesTest, EveryKindHasTorchsBits) {
  size_t n = 0;
  for (const nlohmann::json& e : read_json(source_dir() / "tests" / "rope_frequencies.json")) {
    SCOPED_TRACE(e["kind"].get<std::string>() + " " + e["dim"].dump());
    const RopeFrequencies found = read_frequencies(e["dim"], e["rope_parameters"]);
    EXPECT_EQ(bits_of(found.inv_freq), e["inv_freq"].get<std::vector<int32_t>>());
    EXPECT_DOUBLE_EQ(found.attention_scaling, e["attention_scaling"].get<double>());
    if (e.contains("long_inv_freq")) {
      EXPECT_EQ(found.switch_length, 512);
      EXPECT_EQ(bits_of(found.long_inv_freq), e["long_inv_freq"].get<std::vector<int32_t>>());
    }
    ++n;
  }
  EXPECT_EQ(n, 40u);
}

TEST(RopeFrequenciesTest, AGrowingBaseHasTorchsBitsAtEveryLength) {
  for (const nlohmann::json& e : read_json(source_dir() / "tests" / "rope_frequencies.json")) {
    if (!e.contains("at_length")) continue;
    const RopeFrequencies found = read_frequencies(e["dim"], e["rope_parameters"]);
    const std::vector<double> inv_freq(found.inv_freq.begin(), found.inv_freq.end());
    ops::RotaryEmbeddingArgs args{};
    args.inv_freq = inv_freq.data();
    args.n_freq = static_cast<int64_t>(inv_freq.size());
    args.switch_length = found.switch_length;
    args.dynamic_theta = found.dynamic_theta;
    args.dynamic_factor = found.dynamic_factor;
    std::vector<float> at(inv_freq.size());
    for (const auto& [length, expected] : e["at_length"].items()) {
      ops::frequencies_at(args, std::stoi(length) - 1, at.data());
      EXPECT_EQ(bits_of(at), expected.get<std::vector<int32_t>>())
          << "dim " << e["dim"] << " length " << length;
    }
  }
}

TEST(RopeFrequenciesTest, BadObjectsAreRefused) {
  const auto message_of = [](const nlohmann::json& rope) {
    try {
      read_frequencies(16, rope);
    } catch (const Error& error) {
      return error.message();
    }
    return std::string("no error");
  };
  const auto expect_text = [](const std::string& message, const std::string& text) {
    EXPECT_NE(message.find(text), std::string::npos) << message;
  };
  expect_text(message_of({{"rope_type", "spiral"}}),
              "rope_parameters.rope_type: expected default, ");
  expect_text(message_of({{"rope_type", "linear"}}), "rope_parameters.factor: expected a number");
  expect_text(message_of({{"rope_type", "linear"}, {"factor", 0}}),
              "rope_parameters.factor: expected a number above 0, found 0");
  expect_text(message_of({{"rope_type", "longrope"},
                          {"original_max_position_embeddings", 8},
                          {"short_factor", {1.0, 2.0}},
                          {"long_factor", {1.0, 2.0}}}),
              "rope_parameters.short_factor: expected 8 numbers, one a frequency, found 2");
  expect_text(message_of({{"rope_type", "llama3"},
                          {"factor", 8.0},
                          {"low_freq_factor", 4.0},
                          {"high_freq_factor", 4.0},
                          {"original_max_position_embeddings", 64}}),
              "rope_parameters.high_freq_factor: expected more than low_freq_factor");
}

}  // namespace
}  // namespace lockstep::test
