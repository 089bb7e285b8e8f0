// What the one graph gives: replay of any module, observation that disturbs nothing, faults that
// show where they were planted, and errors at trace time.
#include <map>
#include <set>

#include "lockstep/error.h"
#include "runtime/executor.h"
#include "support.h"

namespace lockstep::test {
namespace {

const std::vector<int32_t> kPrompt = {591, 283, 298, 682, 273};

std::map<std::string, std::vector<double>> run_taps(Pipeline& pipeline,
                                                    std::vector<std::string>* order = nullptr) {
  std::map<std::string, std::vector<double>> results;
  std::multimap<ValueId, std::string> names;
  std::set<ValueId> values;
  for (const Tap& tap : list_taps(pipeline.graph(), "*", TapInputs::kNo)) {
    const std::string name = tap.path + "." + std::to_string(tap.index);
    names.emplace(tap.value, name);
    values.insert(tap.value);
    if (order != nullptr) order->push_back(name);
  }
  pipeline.observe({values.begin(), values.end()}, [&](ValueId v, const View& rows) {
    const auto [begin, end] = names.equal_range(v);
    for (auto it = begin; it != end; ++it) results[it->second] = to_doubles(rows);
  });
  all_logits(pipeline, kPrompt);
  pipeline.observe({}, nullptr);
  return results;
}

TEST(TracingTest, TapsCarryTheReferencesPathsOnce) {
  const Model model = Model::open(fixture("llama").string(), Registry(), DType::kFloat32);
  std::set<std::string> paths;
  for (const Tap& tap : list_taps(model.trace.graph, "*", TapInputs::kNo)) {
    EXPECT_EQ(tap.call, 0u) << tap.path;
    EXPECT_TRUE(paths.insert(tap.path + "." + std::to_string(tap.index)).second) << tap.path;
  }
  for (const char* path : {"model.embed_tokens.0", "model.rotary_emb.1", "model.layers.3.0",
                           "model.layers.0.self_attn/q_rot.0", "model.layers.0.mlp.act_fn.0",
                           "model.layers.0.self_attn/context.0", "model.norm.0", "lm_head.0"}) {
    EXPECT_TRUE(paths.contains(path)) << path;
  }
}

TEST(TracingTest, ObservingEverythingLeavesTheLogitsAlone) {
  Pipeline pipeline = open_pipeline(fixture("llama").string(), DType::kBFloat16);
  const std::vector<double> before = all_logits(pipeline, kPrompt);
  run_taps(pipeline);
  EXPECT_EQ(before, all_logits(pipeline, kPrompt));
}

TEST(TracingTest, PlantedRotationStyleShowsFirstAtTheRotatedQueriesAndKeys) {
  const std::string path = fixture("storyteller").string();
  Pipeline sound = open_pipeline(path, DType::kFloat32);
  Model model = Model::open(path, Registry(), DType::kFloat32);
  size_t n_planted = 0;
  for (Node& node : model.trace.graph.nodes) {
    if (node.op == nullptr || node.op->name != "rope") continue;
    node.attrs.set("style", std::string("interleaved"));
    ++n_planted;
  }
  ASSERT_EQ(n_planted, 12u);
  Pipeline faulty(std::move(model), {});
  std::vector<std::string> order;
  const auto expected = run_taps(sound, &order);
  const auto found = run_taps(faulty);
  std::vector<std::string> wrong;
  for (const std::string& name : order) {
    if (expected.at(name) != found.at(name)) wrong.push_back(name);
  }
  ASSERT_GE(wrong.size(), 3u);
  EXPECT_EQ(wrong[0], "model.layers.0.self_attn/q_rot.0");
  EXPECT_EQ(wrong[1], "model.layers.0.self_attn/k_rot.0");
  for (size_t i = 0; i < 2; ++i) {
    // Position 0 is turned by the angle 0 in either style.
    const std::vector<double>& a = expected.at(wrong[i]);
    const std::vector<double>& b = found.at(wrong[i]);
    const size_t row = a.size() / kPrompt.size();
    EXPECT_TRUE(std::equal(a.begin(), a.begin() + row, b.begin())) << wrong[i];
    EXPECT_FALSE(std::equal(a.begin() + row, a.begin() + 2 * row, b.begin() + row)) << wrong[i];
  }
}

// Runs the body of `call` alone on the inputs it had in a whole run.
void replay(Pipeline& pipeline, uint32_t call) {
  const Graph& graph = pipeline.graph();
  const Graph part = extract(graph, call);
  std::map<ValueId, Tensor> inputs, outputs;
  std::vector<ValueId> observed;
  for (const Call::Argument& argument : graph.calls[call].inputs) {
    observed.push_back(argument.value);
  }
  for (const ValueId& output : graph.calls[call].outputs) observed.push_back(output);
  for (const Node& node : part.nodes) {
    if (node.kind == NodeKind::kInput && graph.find_input(node.name)) {
      observed.push_back(*graph.find_input(node.name));
    }
  }
  std::map<ValueId, Tensor> seen;
  pipeline.observe(observed, [&](ValueId v, const View& rows) { seen[v] = Tensor::copy_of(rows); });
  all_logits(pipeline, kPrompt);
  pipeline.observe({}, nullptr);

  std::vector<View> parameters;
  for (const Parameter& parameter : part.parameters) {
    for (size_t i = 0; i < graph.parameters.size(); ++i) {
      if (graph.parameters[i].path == parameter.path) {
        parameters.push_back(pipeline.weights().views()[i]);
      }
    }
  }
  SymbolValues now{};
  now.fill(1);
  now[static_cast<size_t>(Symbol::kTokens)] = static_cast<int64_t>(kPrompt.size());
  now[static_cast<size_t>(Symbol::kLogitRows)] = static_cast<int64_t>(kPrompt.size());
  now[static_cast<size_t>(Symbol::kSequenceOffsets)] = 2;
  now[static_cast<size_t>(Symbol::kStateSlots)] = pipeline.options().max_sequences;
  now[static_cast<size_t>(Symbol::kPageSize)] = pipeline.options().page_size;
  now[static_cast<size_t>(Symbol::kCachePages)] =
      pipeline.options().max_context / pipeline.options().page_size;
  Executor executor(part, parameters, now);
  for (const Node& node : part.nodes) {
    if (node.kind != NodeKind::kInput) continue;
    if (const auto step_input = graph.find_input(node.name)) {
      executor.bind_input(node.name, seen.at(*step_input).view());
      continue;
    }
    ASSERT_TRUE(node.name.starts_with("argument.")) << node.name;
    const size_t i = std::stoul(node.name.substr(9));
    executor.bind_input(node.name, seen.at(graph.calls[call].inputs[i].value).view());
  }
  executor.run(now, pipeline.context());
  for (size_t i = 0; i < part.outputs.size(); ++i) {
    EXPECT_EQ(to_doubles(executor.output(i)),
              to_doubles(seen.at(graph.calls[call].outputs[i]).view()))
        << graph.calls[call].path;
  }
}

TEST(TracingTest, EveryModuleReplaysAloneToTheBit) {
  const std::pair<const char*, size_t> fixtures[] = {
      {"llama", 57}, {"gemma3", 108}, {"gpt2", 54}, {"mamba2", 36}};
  for (const auto& [name, n_calls] : fixtures) {
    Pipeline pipeline = open_pipeline(fixture(name).string(), DType::kFloat32);
    size_t n = 0;
    for (uint32_t call = 0; call < pipeline.graph().calls.size(); ++call) {
      if (pipeline.graph().calls[call].path.empty()) continue;
      replay(pipeline, call);
      ++n;
    }
    EXPECT_EQ(n, n_calls) << name;
  }
}

TEST(TracingTest, ForcedReferenceKernelsAgreeAndRan) {
  const std::string path = fixture("llama").string();
  Pipeline fast = open_pipeline(path, DType::kFloat32);
  Pipeline plain = open_pipeline(path, DType::kFloat32, 512, KernelPolicy::parse("ref", false));
  EXPECT_LE(relative_l2(all_logits(fast, kPrompt), all_logits(plain, kPrompt)), 1e-6);
  for (const auto& [kernel, calls] : plain.context().calls) {
    EXPECT_TRUE(kernel.ends_with("/ref")) << kernel;
  }
  EXPECT_TRUE(plain.context().calls.contains("linear/ref"));
  EXPECT_FALSE(fast.context().calls.contains("linear/ref"));
}

}  // namespace
}  // namespace lockstep::test
