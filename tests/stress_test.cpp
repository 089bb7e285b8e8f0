// Random checkpoints wider than the fixtures, of every kind tests/fixtures/stress asks for, against
// the reference in float64: every module output within five times what the reference's own float32
// is off by. What a wrong value of the size of an epsilon does to that is shown beside it.
#include <functional>
#include <map>

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

std::vector<std::string> stress_names() {
  std::vector<std::string> names;
  const std::filesystem::path folder = source_dir() / "tests" / "fixtures" / "stress";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
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

// Changes attribute `attr` of the nodes of `op` in the call `module`.
void change(Graph& graph, const std::string& module, const std::string& op, const std::string& attr,
            const std::function<Attrs::Value(const Attrs&)>& value) {
  size_t n = 0;
  for (Node& node : graph.nodes) {
    if (node.op == nullptr || node.op->name != op || graph.calls[node.call].path != module)
      continue;
    node.attrs.set(attr, value(node.attrs));
    ++n;
  }
  ASSERT_GT(n, 0u) << module << " has no " << op;
}

// The planted value is found at every tap of `guilty`; all taps under `before` are within the bar.
void expect_found(const std::string& name, const std::vector<std::string>& guilty,
                  const std::string& before, const Plant& plant) {
  size_t n_found = 0, n_before = 0;
  for (const Judged& judged : run_stress(name, plant)) {
    if (judged.tap.starts_with(before)) {
      EXPECT_LE(judged.ratio, kFactor) << judged.tap;
      ++n_before;
    }
    if (std::find(guilty.begin(), guilty.end(), judged.tap) == guilty.end()) continue;
    EXPECT_GT(judged.ratio, kFactor) << judged.tap;
    printf("  %s: %s %.3g floors\n", name.c_str(), judged.tap.c_str(), judged.ratio);
    ++n_found;
  }
  EXPECT_EQ(n_found, guilty.size());
  EXPECT_GT(n_before, 0u);
}

TEST(StressPlantedTest, AnEpsilonTenTimesTooLargeIsFound) {
  expect_found("llama_twelve_heads", {"model.layers.1.input_layernorm#0.0"}, "model.layers.0",
               [](Graph& graph) {
                 change(graph, "model.layers.1.input_layernorm", "rms_norm", "eps",
                        [](const Attrs& attrs) { return 10 * attrs.get_float("eps"); });
               });
}

TEST(StressPlantedTest, OneFrequencyOneUnitOffIsFoundWithPositionsTo8192) {
  expect_found(
      "llama_8k_positions",
      {"model.rotary_emb#0.0", "model.rotary_emb#0.1", "model.layers.0.self_attn/q_rot#0.0"},
      "model.layers.0.self_attn.q_proj", [](Graph& graph) {
        change(graph, "model.rotary_emb", "rotary_embedding", "inv_freq", [](const Attrs& attrs) {
          const std::span<const double> old = attrs.get_floats("inv_freq");
          std::vector<double> moved(old.begin(), old.end());
          moved[5] = std::nextafter(static_cast<float>(moved[5]), 1.0f);
          return moved;
        });
      });
}

TEST(StressPlantedTest, AScaleOffByOneInTenThousandIsFound) {
  expect_found("llama_twelve_layers", {"model.layers.11.self_attn/context#0.0"}, "model.layers.5",
               [](Graph& graph) {
                 change(graph, "model.layers.11.self_attn", "attention", "scale",
                        [](const Attrs& attrs) { return attrs.get_float("scale") * 1.0001; });
               });
}

TEST(StressPlantedTest, AWindowOneTokenTooLongIsFound) {
  expect_found("gemma3_wide_heads", {"model.layers.0.self_attn/context#0.0"},
               "model.layers.0.self_attn.q_norm", [](Graph& graph) {
                 change(graph, "model.layers.0.self_attn", "attention", "window",
                        [](const Attrs& attrs) { return attrs.get_int("window") + 1; });
               });
}

// A tensor with one channel a thousand times the others: a fault in the others is 1e-5 of the
// whole.
TEST(StressPlantedTest, TheLargeChannelHidesNothing) {
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
