// Random checkpoints wider than the fixtures, of every kind tests/fixtures/stress asks for, against
// the reference in float64: every module output within five times what the reference's own float32
// is off by. What a wrong value of the size of an epsilon does to that is shown beside it.
#include <functional>
#include <map>
#include <set>

#include "stress_checkpoint.h"

namespace lockstep::test {
namespace {

constexpr double kFactor = 5;
constexpr double kRounding = 0x1p-24;  // half a unit of float32: a floor is not smaller
constexpr size_t kDecoded = 8;         // tokens at the end that are fed one by one
constexpr size_t kChunk = 512;

using Plant = std::function<void(Graph&)>;

struct Judged {
  std::string tap;
  double ratio = 0;  // error over floor, the larger of the two estimates
};

std::string key_of(const std::string& path, uint64_t call, uint64_t index) {
  return path + "#" + std::to_string(call) + "." + std::to_string(index);
}

// A recorded value and one of the port's calls that may have computed it.
struct Watched {
  size_t expected;   // index among the recorded taps
  bool is_state;     // as the last step leaves it
  bool is_unsorted;  // rows in an order that is the implementation's own
  Projections projections;
};

// Modules that the reference runs on rows sorted by expert, an order that is its own.
bool inside_dispatch(const std::string& path) {
  return path.find(".experts.") != std::string::npos;
}

class StressRun {
 public:
  StressRun(const StressSpec& stress, Pipeline& pipeline) : stress_(stress), pipeline_(pipeline) {
    const nlohmann::json& taps = stress_.expected["taps"];
    const std::vector<Tap> port = list_taps(pipeline.graph(), "*", TapInputs::kNo);
    for (size_t i = 0; i < taps.size(); ++i) {
      const std::string path = taps[i]["path"];
      const Draws draw(stress_.seed, path + "." + std::to_string(taps[i]["index"].get<int>()));
      size_t n_calls = 0;
      // The reference numbers repeated calls in an order that differs between runs: the nearest is
      // it.
      for (const Tap& tap : port) {
        if (tap.path != path || tap.index != taps[i]["index"]) continue;
        watched_.emplace(tap.value,
                         Watched{i, path.ends_with("_state"), path.ends_with("/topk_weights"),
                                 Projections(draw, taps[i]["shape"])});
        ++n_calls;
      }
      if (n_calls == 0) {
        EXPECT_TRUE(inside_dispatch(path)) << path << " is no tap of the port";
      }
    }
  }

  // A prefill in chunks, then token by token.
  std::vector<Judged> run() {
    std::vector<ValueId> values;
    for (const auto& [value, watched] : watched_) values.push_back(value);
    pipeline_.observe(values, [this](ValueId v, const View& rows) { see(v, rows); });
    const std::vector<int32_t> ids = stress_.prompt(pipeline_.vocab_size());
    Sequence sequence;
    for (size_t at = 0, n = 0; at < ids.size(); at += n) {
      const size_t left = ids.size() - at;
      n = left > kDecoded ? std::min(kChunk, left - kDecoded) : 1;
      const Segment segment{&sequence, std::span(ids).subspan(at, n), LogitRows::kAll};
      pipeline_.step({&segment, 1});
    }
    pipeline_.observe({}, nullptr);
    pipeline_.release(sequence);
    return judge();
  }

 private:
  void see(ValueId v, const View& rows) {
    std::vector<double> values = to_doubles(rows);
    const auto [begin, end] = watched_.equal_range(v);
    if (begin->second.is_unsorted) {
      const auto width = static_cast<ptrdiff_t>(rows.dim(rows.rank - 1));
      for (auto row = values.begin(); row < values.end(); row += width) std::sort(row, row + width);
    }
    for (auto at = begin; at != end; ++at) {
      if (at->second.is_state) at->second.projections.restart();
      at->second.projections.add(values);
    }
  }

  std::vector<Judged> judge() const {
    const nlohmann::json& taps = stress_.expected["taps"];
    const auto* projections = static_cast<const double*>(stress_.arrays.view("projections").data);
    const auto* norms = static_cast<const float*>(stress_.arrays.view("norms").data);
    std::map<size_t, double> ratios;
    for (const auto& [value, watched] : watched_) {
      const size_t i = watched.expected;
      EXPECT_TRUE(watched.projections.complete()) << taps[i]["path"];
      const RelativeError error =
          estimate(watched.projections.sums(), projections + i * Projections::kCount,
                   norms + i * Projections::kCount);
      const std::array<double, 2> floor = taps[i]["floor"];
      const double ratio = std::max(error.whole / std::max(floor[0], kRounding),
                                    error.by_bucket / std::max(floor[1], kRounding));
      const auto [at, is_new] = ratios.emplace(i, ratio);
      // NaN compares false, and stays.
      if (!is_new && !(at->second <= ratio)) at->second = ratio;
    }
    std::vector<Judged> judged;
    for (const auto& [i, ratio] : ratios) {
      judged.push_back({key_of(taps[i]["path"], taps[i]["call"], taps[i]["index"]), ratio});
    }
    return judged;
  }

  const StressSpec& stress_;
  Pipeline& pipeline_;
  std::multimap<ValueId, Watched> watched_;
};

std::vector<Judged> run_stress(const std::string& name, const Plant& plant = nullptr) {
  const StressSpec stress(name);
  const TempDir folder;
  const uint64_t checksum = make_stress_checkpoint(stress, folder.path());
  EXPECT_EQ(std::stoull(stress.expected["checksum"].get<std::string>(), nullptr, 16), checksum)
      << name << ": the weights are others than the reference had";
  Model model = Model::open(folder.path().string(), Registry(), DType::kFloat32);
  if (plant) plant(model.trace.graph);
  PipelineOptions options;
  options.max_tokens = options.max_logit_rows = kChunk;
  options.max_context = stress.spec["tokens"].get<int64_t>() + options.page_size;
  Pipeline pipeline(std::move(model), options);
  return StressRun(stress, pipeline).run();
}

class StressTest : public ::testing::TestWithParam<std::string> {};

TEST_P(StressTest, EveryModuleOutputIsWithinFiveFloorsInFloat32) {
  const std::vector<Judged> judged = run_stress(GetParam());
  EXPECT_GT(judged.size(), 15u);
  Judged worst;
  for (const Judged& tap : judged) {
    EXPECT_LE(tap.ratio, kFactor) << tap.tap;
    if (!(tap.ratio <= worst.ratio)) worst = tap;
  }
  printf("  %s: %zu taps, at most %.2f floors (%s)\n", GetParam().c_str(), judged.size(),
         worst.ratio, worst.tap.c_str());
}

INSTANTIATE_TEST_SUITE_P(Specs, StressTest, ::testing::ValuesIn(stress_names()),
                         [](const auto& name) { return std::string(name.param); });

TEST(StressSpecsTest, EveryArchitectureHasOne) {
  std::set<std::string> covered;
  for (const std::string& name : stress_names()) {
    covered.insert(read_json(StressSpec(name).folder / "config.json")["architectures"][0]);
  }
  const Registry registry;
  for (const Registry::Entry& entry : registry.entries()) {
    EXPECT_TRUE(covered.contains(entry.architecture->class_name)) << entry.architecture->slug;
  }
}

// One attribute of the ops `op` in the call `module` has another value. It is found at every tap of
// `guilty`; all taps under `before` are within the bar.
struct Fault {
  const char *name, *spec, *module, *op, *attr;
  std::function<Attrs::Value(const Attrs&)> value;
  std::vector<std::string> guilty;
  const char* before;
};

auto times(const char* attr, double factor) {
  return [=](const Attrs& attrs) { return factor * attrs.get_float(attr); };
}
auto plus_one(const char* attr) {
  return [=](const Attrs& attrs) { return attrs.get_int(attr) + 1; };
}
auto set_to(const Attrs::Value& value) {
  return [=](const Attrs&) { return value; };
}
// Element `i` of a list, changed.
template <class Change>
auto element(const char* attr, size_t i, Change change) {
  return [=](const Attrs& attrs) {
    const std::span<const double> old = attrs.get_floats(attr);
    std::vector<double> moved(old.begin(), old.end());
    moved[i] = change(moved[i]);
    return moved;
  };
}
double next_float(double x) { return std::nextafter(static_cast<float>(x), 1.0f); }

const Fault kFaults[] = {
    {"AnEpsilonTenTimesTooLarge",
     "llama_twelve_heads",
     "model.layers.1.input_layernorm",
     "rms_norm",
     "eps",
     times("eps", 10),
     {"model.layers.1.input_layernorm#0.0"},
     "model.layers.0"},
    {"OneFrequencyOneUnitOff",
     "llama_8k_positions",
     "model.rotary_emb",
     "rotary_embedding",
     "inv_freq",
     element("inv_freq", 5, next_float),
     {"model.rotary_emb#0.0", "model.rotary_emb#0.1", "model.layers.0.self_attn/q_rot#0.0"},
     "model.layers.0.self_attn.q_proj"},
    {"AScaleOffByOneInTenThousand",
     "llama_twelve_layers",
     "model.layers.11.self_attn",
     "attention",
     "scale",
     times("scale", 1.0001),
     {"model.layers.11.self_attn/context#0.0"},
     "model.layers.5"},
    {"AWindowOneTokenTooLong",
     "gemma3_wide_heads",
     "model.layers.0.self_attn",
     "attention",
     "window",
     plus_one("window"),
     {"model.layers.0.self_attn/context#0.0"},
     "model.layers.0.self_attn.q_norm"},
    {"AWindowOneTokenTooLongBesideSinks",
     "gpt_oss_odd_experts",
     "model.layers.0.self_attn",
     "attention",
     "window",
     plus_one("window"),
     {"model.layers.0.self_attn/context#0.0", "model.layers.0#0.0"},
     "model.layers.0.self_attn.q_proj"},
    {"ASlopeBeyondThePowerOfTwoOff",
     "bloom_ten_heads",
     "transformer.h.1.self_attention",
     "attention",
     "alibi_slopes",
     element("alibi_slopes", 9, [](double x) { return 1.0001 * x; }),
     {"transformer.h.1.self_attention/context#0.0"},
     "transformer.h.0"},
    {"ASoftCapOffByOneInTenThousand",
     "gemma2_caps",
     "model.layers.1.self_attn",
     "attention",
     "soft_cap",
     times("soft_cap", 1.0001),
     {"model.layers.1.self_attn/context#0.0"},
     "model.layers.0"},
    {"YarnsScaleLeftOutOfTheScores",
     "deepseek_v3_yarn_mscale",
     "model.layers.0.self_attn",
     "latent_attention",
     "scale",
     set_to(1 / std::sqrt(56.0 + 40.0)),
     {"model.layers.0.self_attn/context#0.0"},
     "model.layers.0.self_attn.q_b_proj"},
    {"LongFactorsOnePositionLate",
     "phi3_longrope",
     "model.rotary_emb",
     "rotary_embedding",
     "switch_length",
     plus_one("switch_length"),
     {"model.rotary_emb#0.0", "model.layers.0.self_attn/k_rot#0.0"},
     "model.layers.0.input_layernorm"},
    {"ABaseThatGrowsALittleFaster",
     "llama_dynamic",
     "model.rotary_emb",
     "rotary_embedding",
     "dynamic_factor",
     times("dynamic_factor", 1.0001),
     {"model.rotary_emb#0.0", "model.layers.0.self_attn/q_rot#0.0"},
     "model.layers.0.self_attn.q_proj"},
    {"HalvesForPairs",
     "cohere2_window",
     "model.layers.0.self_attn",
     "rope",
     "style",
     set_to("half"),
     {"model.layers.0.self_attn/q_rot#0.0", "model.layers.0.self_attn/k_rot#0.0"},
     "model.layers.0.self_attn.q_proj"},
    {"AMultiplierOffByOneInAHundredThousand",
     "granite_multipliers",
     "model.layers.1",
     "elementwise",
     "factor",
     times("factor", 1.00001),
     {"model.layers.1#0.0"},
     "model.layers.0"},
    {"OneGroupOfExpertsTooMany",
     "deepseek_v3_experts",
     "model.layers.1.mlp",
     "router_topk",
     "topk_group",
     plus_one("topk_group"),
     {"model.layers.1.mlp/topk_weights#0.0", "model.layers.1.mlp#0.0"},
     "model.layers.0"},
    {"WeightsOfExpertsThatAddUpToOne",
     "qwen2_moe_mixed_layers",
     "model.layers.1.mlp.gate",
     "router_topk",
     "normalise",
     set_to(int64_t{1}),
     {"model.layers.1.mlp/topk_weights#0.0", "model.layers.1.mlp#0.0"},
     "model.layers.0"},
    {"AnEpsilonOfTheHeadsTenTimesTooLarge",
     "stablelm_qk_layernorm",
     "model.layers.1.self_attn.q_layernorm",
     "layer_norm",
     "eps",
     times("eps", 10),
     {"model.layers.1.self_attn.q_layernorm#0.0"},
     "model.layers.0"},
    {"AnOffsetOfTheNormOffByOneInAHundredThousand",
     "qwen3_next_odd_heads",
     "model.layers.1.input_layernorm",
     "rms_norm",
     "weight_offset",
     times("weight_offset", 1.00001),
     {"model.layers.1.input_layernorm#0.0"},
     "model.layers.0"},
};

class StressFaultTest : public ::testing::TestWithParam<Fault> {};

TEST_P(StressFaultTest, IsFound) {
  const Fault& fault = GetParam();
  const auto plant = [&](Graph& graph) {
    size_t n_changed = 0;
    for (Node& node : graph.nodes) {
      if (node.op == nullptr || node.op->name != fault.op || !node.attrs.has(fault.attr) ||
          graph.calls[node.call].path != fault.module) {
        continue;
      }
      node.attrs.set(fault.attr, fault.value(node.attrs));
      ++n_changed;
    }
    ASSERT_GT(n_changed, 0u) << fault.module << " has no " << fault.op << " with " << fault.attr;
  };
  size_t n_found = 0, n_before = 0;
  for (const Judged& judged : run_stress(fault.spec, plant)) {
    if (judged.tap.starts_with(fault.before)) {
      EXPECT_LE(judged.ratio, kFactor) << judged.tap;
      ++n_before;
    }
    if (std::find(fault.guilty.begin(), fault.guilty.end(), judged.tap) == fault.guilty.end()) {
      continue;
    }
    EXPECT_GT(judged.ratio, kFactor) << judged.tap;
    printf("  %s: %s %.3g floors\n", fault.spec, judged.tap.c_str(), judged.ratio);
    ++n_found;
  }
  EXPECT_EQ(n_found, fault.guilty.size());
  EXPECT_GT(n_before, 0u);
}

INSTANTIATE_TEST_SUITE_P(Planted, StressFaultTest, ::testing::ValuesIn(kFaults),
                         [](const auto& fault) { return std::string(fault.param.name); });

// A tensor with one channel a thousand times the others: a fault in the others is 1e-5 of the
// whole.
TEST(StressSpecsTest, TheLargeChannelHidesNothing) {
  std::vector<double> exact(96 * 128);
  const Draws draw(1, "test");
  for (size_t i = 0; i < exact.size(); ++i) {
    exact[i] = static_cast<double>(draw(i) >> 40) * 0x1p-23 - 1;
    if (i % 128 == 77) exact[i] *= 1000;
  }
  std::vector<double> wrong = exact;
  for (size_t i = 0; i < wrong.size(); ++i) {
    if (i % 128 == 3) wrong[i] *= 1.0001;
  }
  Projections::Sums sums[2];
  std::array<float, Projections::kCount> norms{};
  for (size_t side = 0; side < 2; ++side) {
    Projections projections(Draws(1, "tap"), {96, 128});
    projections.add(side == 0 ? exact : wrong);
    sums[side] = projections.sums();
  }
  for (size_t i = 0; i < exact.size(); ++i) {
    float& energy = norms[i / 128 * 8 / 96 * 8 + i % 128 * 8 / 128];
    energy += static_cast<float>(exact[i] * exact[i]);
  }
  for (float& norm : norms) norm = std::sqrt(norm);
  const RelativeError error = estimate(sums[1], sums[0].data(), norms.data());
  EXPECT_LT(error.whole, 1e-6);
  EXPECT_NEAR(error.by_bucket, 1e-4 / std::sqrt(8.0 * 16), 4e-6);
}

}  // namespace
}  // namespace lockstep::test
