// Isolated replay: sound ports have no source; planted faults are named where they were planted,
// and nothing else is.
#include "parity/isolate.h"

#include <algorithm>
#include <functional>
#include <set>

#include "parity/dump.h"
#include "support.h"

namespace lockstep::test {
namespace {
using parity::IsolatedTap;

struct Fault {
  const char* name;
  const char* module;  // path of the call whose node is changed
  const char* op;
  const char* attr;
  Attrs::Value value;
  std::set<std::string> sources;
};

std::vector<Fault> faults() {
  const std::string layer2 = "model.layers.2.";
  return {
      {"RotationStyle",
       "model.layers.2.self_attn",
       "rope",
       "style",
       std::string("interleaved"),
       {layer2 + "self_attn/q_rot", layer2 + "self_attn/k_rot"}},
      {"Epsilon",
       "model.layers.1.input_layernorm",
       "rms_norm",
       "eps",
       1e-2,
       {"model.layers.1.input_layernorm"}},
      {"AttentionScale",
       "model.layers.3.self_attn",
       "attention",
       "scale",
       0.5,
       {"model.layers.3.self_attn/context"}},
      {"Activation",
       "model.layers.0.mlp.act_fn",
       "activation",
       "fn",
       std::string("gelu"),
       {"model.layers.0.mlp.act_fn"}},
      {"NoResidual",
       "model.layers.1",
       "elementwise",
       "fn",
       std::string("sub"),
       // The first sum feeds the second norm, the second one is the layer's output.
       {"model.layers.1.post_attention_layernorm", "model.layers.1"}},
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
  // A recording of the sound port.
  void SetUp() override {
    Pipeline sound = open_pipeline(model_, GetParam());
    const std::vector<int32_t> ids = {1, 320, 297, 201, 57, 409, 273, 262, 283, 298, 692, 33};
    parity::PlannedSequence sequence = parity::plan_prompt(GetParam(), ids, 0, 0, 512);
    parity::dump({&sound}, {sequence}, {}, temp_.path() / "sound");
    recording_ = parity::read_recording(temp_.path() / "sound");
  }

  std::set<std::string> sources(const std::vector<const Fault*>& planted) {
    Model model = Model::open(model_, Registry(), GetParam());
    for (const Fault* fault : planted) plant(model.trace.graph, *fault);
    PipelineOptions options;
    options.max_logit_rows = 512;
    Pipeline pipeline(std::move(model), options);
    const parity::IsolateReport report = parity::isolate(pipeline, recording_);
    EXPECT_TRUE(report.not_replayed.empty()) << report.not_replayed[0];
    EXPECT_GT(report.taps.size(), 50u);
    std::set<std::string> found;
    for (const IsolatedTap& tap : report.taps) {
      if (tap.verdict == IsolatedTap::Verdict::kSource) found.insert(tap.path);
    }
    EXPECT_EQ(report.sound(), found.empty());
    return found;
  }

  const std::string model_ = fixture("llama").string();
  TempDir temp_;
  parity::Recording recording_;
};

TEST_P(IsolateTest, SoundPortHasNoSourceAndReplaysToTheBit) {
  EXPECT_TRUE(sources({}).empty());
  Pipeline pipeline = open_pipeline(model_, GetParam());
  for (const IsolatedTap& tap : parity::isolate(pipeline, recording_).taps) {
    EXPECT_EQ(tap.isolated, 0) << tap.path;
  }
}

TEST_P(IsolateTest, EachPlantedFaultIsNamedAndNothingElse) {
  for (const Fault& fault : faults()) EXPECT_EQ(sources({&fault}), fault.sources) << fault.name;
}

TEST_P(IsolateTest, PairsOfFaultsAreNamedTogether) {
  const std::vector<Fault> all = faults();
  for (size_t i = 0; i < all.size(); ++i) {
    const Fault& a = all[i];
    const Fault& b = all[(i + 2) % all.size()];
    std::set<std::string> both = a.sources;
    both.insert(b.sources.begin(), b.sources.end());
    EXPECT_EQ(sources({&a, &b}), both) << a.name << " and " << b.name;
  }
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
