// Isolated replay: sound ports have no source; planted faults are named where they were planted,
// and nothing else is.
#include "parity/isolate.h"

#include <algorithm>
#include <map>
#include <set>

#include "parity/dump.h"
#include "support.h"

namespace lockstep::test {
namespace {
using parity::IsolatedTap;

struct Fault {
  const char* name;
  const char* fixture;
  const char* module;  // path of the call whose node is changed
  const char* op;
  const char* attr;
  Attrs::Value value;
  std::set<std::string> sources;  // what must be named, and nothing else
};

std::vector<Fault> faults() {
  return {
      {"RotationStyle",
       "llama",
       "model.layers.2.self_attn",
       "rope",
       "style",
       std::string("interleaved"),
       {"model.layers.2.self_attn/q_rot", "model.layers.2.self_attn/k_rot"}},
      {"Epsilon",
       "llama",
       "model.layers.1.input_layernorm",
       "rms_norm",
       "eps",
       1e-2,
       {"model.layers.1.input_layernorm"}},
      {"AttentionScale",
       "llama",
       "model.layers.3.self_attn",
       "attention",
       "scale",
       0.5,
       {"model.layers.3.self_attn/context"}},
      // The first sum feeds the second norm, the second one is the layer's output.
      {"NoResidual",
       "llama",
       "model.layers.1",
       "elementwise",
       "fn",
       std::string("sub"),
       {"model.layers.1.post_attention_layernorm", "model.layers.1"}},
      {"Window",
       "gemma3",
       "model.layers.0.self_attn",
       "attention",
       "window",
       int64_t{4},
       {"model.layers.0.self_attn/context"}},
      {"NoUnitOffset",
       "gemma3",
       "model.layers.2.post_feedforward_layernorm",
       "rms_norm",
       "weight_offset",
       0.0,
       {"model.layers.2.post_feedforward_layernorm"}},
      {"Activation",
       "gpt2",
       "transformer.h.1.mlp.act",
       "activation",
       "fn",
       std::string("relu"),
       {"transformer.h.1.mlp.act"}},
      {"LayerNormEpsilon",
       "gpt2",
       "transformer.h.2.ln_1",
       "layer_norm",
       "eps",
       0.5,
       {"transformer.h.2.ln_1"}},
      // The state after the run, and the norm of what the scan gives.
      {"StepLimit",
       "mamba2",
       "backbone.layers.1.mixer",
       "ssd_scan",
       "dt_max",
       0.01,
       {"backbone.layers.1.mixer/ssm_state", "backbone.layers.1.mixer.norm"}},
      {"Renormalised",
       "mixtral",
       "model.layers.1.mlp.gate",
       "router_topk",
       "scaling",
       1.5,
       {"model.layers.1.mlp/topk_weights"}},
      {"ExpertActivation",
       "mixtral",
       "model.layers.2.mlp.experts",
       "experts",
       "fn",
       std::string("relu"),
       {"model.layers.2.mlp.experts"}},
      {"LatentScale",
       "deepseek_v3",
       "model.layers.1.self_attn",
       "latent_attention",
       "scale",
       0.9,
       {"model.layers.1.self_attn/context"}},
      {"RoutingFactor",
       "deepseek_v3",
       "model.layers.2.mlp",
       "router_topk",
       "scaling",
       1.0,
       {"model.layers.2.mlp/topk_weights"}},
  };
}

void plant(Graph& graph, const Fault& fault) {
  size_t n = 0;
  for (Node& node : graph.nodes) {
    if (node.op == nullptr || node.op->name != fault.op) continue;
    if (graph.calls[node.call].path != fault.module) continue;
    node.attrs.set(fault.attr, fault.value);
    ++n;
  }
  ASSERT_GT(n, 0u) << fault.name;
}

class IsolateTest : public ::testing::TestWithParam<DType> {
 protected:
  // What the sound port of `name` computes, every value, as a recording.
  const parity::Recording& recording(const std::string& name) {
    const auto known = recordings_.find(name);
    if (known != recordings_.end()) return known->second;
    Pipeline sound = open_pipeline(fixture(name).string(), GetParam());
    const std::vector<int32_t> ids = {1, 320, 297, 201, 57, 409, 273, 262, 283, 298, 692, 33};
    parity::dump({&sound}, {parity::plan_prompt(GetParam(), ids, 0, 0, 512)}, {},
                 temp_.path() / name);
    return recordings_.emplace(name, parity::read_recording(temp_.path() / name)).first->second;
  }

  parity::IsolateReport run(const std::string& name, const std::vector<const Fault*>& planted) {
    Model model = Model::open(fixture(name).string(), Registry(), GetParam());
    for (const Fault* fault : planted) plant(model.trace.graph, *fault);
    PipelineOptions options;
    options.max_logit_rows = 512;
    Pipeline pipeline(std::move(model), options);
    return parity::isolate(pipeline, recording(name));
  }

  std::set<std::string> sources(const std::string& name, const std::vector<const Fault*>& planted) {
    const parity::IsolateReport report = run(name, planted);
    EXPECT_TRUE(report.not_replayed.empty()) << report.not_replayed[0];
    EXPECT_GT(report.taps.size(), 30u);
    std::set<std::string> found;
    for (const IsolatedTap& tap : report.taps) {
      if (tap.verdict == IsolatedTap::Verdict::kSource) found.insert(tap.path);
    }
    EXPECT_EQ(report.sound(), found.empty());
    return found;
  }

  TempDir temp_;
  std::map<std::string, parity::Recording> recordings_;
};

TEST_P(IsolateTest, SoundPortsHaveNoSourceAndReplayToTheBit) {
  for (const char* name : kFixtures) {
    for (const IsolatedTap& tap : run(name, {}).taps) {
      EXPECT_EQ(tap.isolated, 0) << name << " " << tap.path;
    }
  }
}

TEST_P(IsolateTest, EachPlantedFaultIsNamedAndNothingElse) {
  for (const Fault& fault : faults()) {
    EXPECT_EQ(sources(fault.fixture, {&fault}), fault.sources) << fault.name;
  }
}

TEST_P(IsolateTest, PairsOfFaultsAreNamedTogether) {
  const std::vector<Fault> all = faults();
  size_t n_pairs = 0;
  for (const Fault& a : all) {
    for (const Fault& b : all) {
      if (&a >= &b || std::string(a.fixture) != b.fixture) continue;
      std::set<std::string> both = a.sources;
      both.insert(b.sources.begin(), b.sources.end());
      EXPECT_EQ(sources(a.fixture, {&a, &b}), both) << a.name << " and " << b.name;
      ++n_pairs;
    }
  }
  EXPECT_GE(n_pairs, 10u);
}

INSTANTIATE_TEST_SUITE_P(DTypes, IsolateTest, ::testing::Values(DType::kFloat32, DType::kBFloat16),
                         [](const auto& dtype) { return std::string(dtype_name(dtype.param)); });

class IsolateGoldenTest : public ::testing::TestWithParam<const char*> {};

TEST_P(IsolateGoldenTest, SoundPortHasNoSourceAgainstTransformers) {
  const std::string model = fixture(GetParam()).string();
  const parity::Recording golden = parity::read_recording(fixture(GetParam()) / "golden");
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    Pipeline pipeline = open_pipeline(model, dtype);
    const parity::IsolateReport report = parity::isolate(pipeline, golden);
    EXPECT_GT(report.taps.size(), 10u);
    for (const IsolatedTap& tap : report.taps) {
      EXPECT_NE(tap.verdict, IsolatedTap::Verdict::kSource)
          << tap.run << " " << tap.path << " " << tap.isolated << " of " << tap.ops;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, IsolateGoldenTest, ::testing::ValuesIn(kFixtures),
                         [](const auto& model) { return std::string(model.param); });

}  // namespace
}  // namespace lockstep::test
