// A model divided among ranks computes what one rank computes.
#include <map>

#include "graph/shard.h"
#include "support.h"

namespace lockstep::test {
namespace {

constexpr double kBar = 3e-6;  // relative L2, float32

PipelineOptions with_ranks(int n_ranks) {
  PipelineOptions options;
  options.n_ranks = n_ranks;
  return options;
}

/// Logits of a prompt in chunks, then of tokens one by one: prefill and decode.
std::vector<double> logits_of(Pipeline& pipeline, const std::vector<int32_t>& ids) {
  std::vector<double> logits;
  Sequence sequence;
  const size_t n_prompt = ids.size() - std::min<size_t>(8, ids.size() - 1);
  const auto feed = [&](std::span<const int32_t> tokens) {
    const Segment segment{&sequence, tokens, LogitRows::kAll};
    const std::vector<double> rows = to_doubles(pipeline.step({&segment, 1}));
    logits.insert(logits.end(), rows.begin(), rows.end());
  };
  feed({ids.data(), n_prompt});
  for (size_t i = n_prompt; i < ids.size(); ++i) feed({&ids[i], 1});
  pipeline.release(sequence);
  return logits;
}

struct Found {
  std::vector<double> logits;
  std::map<std::string, std::vector<double>> taps;
  std::map<std::string, std::string> shapes;
};

Found run(const std::string& model, DType dtype, const std::vector<int32_t>& ids, int n_ranks) {
  Pipeline pipeline(Model::open(model, Registry(), dtype), with_ranks(n_ranks));
  EXPECT_TRUE(pipeline.notices().empty()) << pipeline.notices().front();
  Found found;
  found.logits = logits_of(pipeline, ids);
  std::map<ValueId, std::string> paths;
  std::vector<ValueId> values;
  for (const Tap& tap : list_taps(pipeline.graph(), "*", TapInputs::kNo)) {
    paths[tap.value] = tap.path;
    values.push_back(tap.value);
  }
  pipeline.observe(values, [&](ValueId v, const View& rows) {
    found.taps[paths.at(v)] = to_doubles(rows);
    found.shapes[paths.at(v)] = to_string(rows);
  });
  logits_of(pipeline, {ids.begin(), ids.begin() + 1});
  Sequence sequence;
  pipeline.prefill(sequence, ids);
  return found;
}

void expect_same(const std::string& model, const std::vector<int32_t>& ids, int n_ranks) {
  const Found one = run(model, DType::kFloat32, ids, 1);
  const Found several = run(model, DType::kFloat32, ids, n_ranks);
  const double error = relative_l2(several.logits, one.logits);
  EXPECT_LE(error, kBar);
  double worst = 0;
  ASSERT_EQ(several.taps.size(), one.taps.size());
  for (const auto& [path, values] : one.taps) {
    ASSERT_TRUE(several.taps.contains(path)) << path;
    EXPECT_EQ(several.shapes.at(path), one.shapes.at(path)) << path;
    const double off = relative_l2(several.taps.at(path), values);
    EXPECT_LE(off, kBar) << path;
    worst = std::max(worst, off);
  }
  printf("  %d ranks: logits %.2g, %zu taps %.2g\n", n_ranks, error, one.taps.size(), worst);
}

class RanksTest : public ::testing::TestWithParam<std::string> {};

TEST_P(RanksTest, TwoAndFourEqualOneInFloat32) {
  const Golden golden(GetParam());
  for (const int n_ranks : {2, 4}) {
    SCOPED_TRACE(n_ranks);
    expect_same(fixture(GetParam()).string(), golden.prompt(0), n_ranks);
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, RanksTest, ::testing::ValuesIn(golden_fixtures()),
                         [](const auto& model) { return std::string(model.param); });

// Products are added up before they are rounded: the error to float32 stays that of one rank.
TEST(Ranks, TwoAreAsExactAsOneInBFloat16) {
  for (const char* name : {"storyteller", "mixtral", "deepseek_v3"}) {
    const Golden golden(name);
    const std::string model = fixture(name).string();
    const std::vector<int32_t> ids = golden.prompt(0);
    const std::vector<double> exact = run(model, DType::kFloat32, ids, 1).logits;
    const double one = relative_l2(run(model, DType::kBFloat16, ids, 1).logits, exact);
    const double two = relative_l2(run(model, DType::kBFloat16, ids, 2).logits, exact);
    EXPECT_LE(two, 1.5 * one) << name;
    printf("  %s: bfloat16 error of one rank %.2g, of two %.2g\n", name, one, two);
  }
}

/// A small Llama with made-up weights.
void write_random_llama(const std::filesystem::path& folder, int64_t n_heads, int64_t n_kv_heads) {
  const int64_t hidden = 64, head_dim = 16, inner = 88, vocabulary = 101, n_layers = 2;
  const nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                                 {"model_type", "llama"},
                                 {"vocab_size", vocabulary},
                                 {"hidden_size", hidden},
                                 {"intermediate_size", inner},
                                 {"num_hidden_layers", n_layers},
                                 {"num_attention_heads", n_heads},
                                 {"num_key_value_heads", n_kv_heads},
                                 {"head_dim", head_dim},
                                 {"max_position_embeddings", 256},
                                 {"tie_word_embeddings", false}};
  write_text(folder / "config.json", config.dump());
  std::map<std::string, std::vector<int64_t>> shapes = {
      {"model.embed_tokens.weight", {vocabulary, hidden}},
      {"model.norm.weight", {hidden}},
      {"lm_head.weight", {vocabulary, hidden}}};
  for (int64_t i = 0; i < n_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    shapes[layer + "self_attn.q_proj.weight"] = {n_heads * head_dim, hidden};
    shapes[layer + "self_attn.k_proj.weight"] = {n_kv_heads * head_dim, hidden};
    shapes[layer + "self_attn.v_proj.weight"] = {n_kv_heads * head_dim, hidden};
    shapes[layer + "self_attn.o_proj.weight"] = {hidden, n_heads * head_dim};
    shapes[layer + "mlp.gate_proj.weight"] = {inner, hidden};
    shapes[layer + "mlp.up_proj.weight"] = {inner, hidden};
    shapes[layer + "mlp.down_proj.weight"] = {hidden, inner};
    shapes[layer + "input_layernorm.weight"] = {hidden};
    shapes[layer + "post_attention_layernorm.weight"] = {hidden};
  }
  std::map<std::string, Tensor> tensors;
  uint64_t state = 88172645463325252u;
  for (const auto& [name, shape] : shapes) {
    Tensor tensor(DType::kFloat32, shape);
    for (int64_t i = 0; i < tensor.view().elements(); ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      const double unit = static_cast<double>(state >> 40) / (1 << 24) - 0.5;
      tensor.data<float>()[i] = static_cast<float>(shape.size() == 1 ? 1 + unit : unit / 2);
    }
    tensors.emplace(name, std::move(tensor));
  }
  SafetensorsWriter writer(folder / "model.safetensors");
  for (const auto& [name, tensor] : tensors) {
    const View& view = tensor.view();
    writer.declare(name, view.dtype, {view.shape.data(), static_cast<size_t>(view.rank)});
  }
  writer.begin();
  for (const auto& [name, tensor] : tensors) {
    writer.write(name, 0, {tensor.data<std::byte>(), tensor.view().bytes()});
  }
  writer.commit();
}

TEST(Ranks, KeyAndValueHeadsFewerThanRanksAreShared) {
  const std::vector<int32_t> ids = {5, 17, 100, 3, 44, 0, 91, 28, 7, 62, 11, 80};
  for (const int64_t n_kv_heads : {1, 2}) {
    TempDir temp;
    write_random_llama(temp.path(), 8, n_kv_heads);
    SCOPED_TRACE(n_kv_heads);
    for (const int n_ranks : {2, 4, 8}) expect_same(temp.path().string(), ids, n_ranks);
  }
}

TEST(Ranks, HeadsThatDoNotDivideRunWholeAndItIsSaid) {
  TempDir temp;
  write_random_llama(temp.path(), 6, 2);
  const std::string model = temp.path().string();
  Pipeline eight(Model::open(model, Registry(), DType::kFloat32), with_ranks(8));
  ASSERT_EQ(eight.notices().size(), 2u);
  EXPECT_EQ(eight.notices().front(),
            "model.layers.0.self_attn: 6 heads do not divide among 8 ranks: every rank computes "
            "all of them");
  Pipeline one(Model::open(model, Registry(), DType::kFloat32), with_ranks(1));
  const std::vector<int32_t> ids = {5, 17, 100, 3, 44};
  EXPECT_LE(relative_l2(logits_of(eight, ids), logits_of(one, ids)), kBar);
}

/// How often an op stands in a graph, dead code included.
int64_t count(const Graph& graph, std::string_view op) {
  return std::ranges::count_if(graph.nodes, [&](const Node& node) {
    return node.kind == NodeKind::kOp && node.op->name == op;
  });
}

uint64_t weight_bytes(const Graph& graph) {
  uint64_t bytes = 0;
  for (const Parameter& parameter : graph.parameters) {
    const TensorType& type = graph.nodes[parameter.node].outputs[0];
    bytes += static_cast<uint64_t>(type.shape.elements({1})) * dtype_size(type.dtype);
  }
  return bytes;
}

// One sum after the embedding and after each block, the logits gathered: nothing else is exchanged,
// and a rank has half of the weights, norms and routers apart.
TEST(Shard, BlocksAreDividedAndOnlyTheirResultsAreExchanged) {
  struct Case {
    const char* name;
    int64_t n_layers;
  };
  for (const Case& c : {Case{"storyteller", 6}, Case{"llama", 4}, Case{"gemma3", 6},
                        Case{"mixtral", 4}, Case{"gpt2", 4}}) {
    SCOPED_TRACE(c.name);
    const Model model = Model::open(fixture(c.name).string(), Registry(), DType::kFloat32);
    const Graph& whole = model.trace.graph;
    const ShardedGraph sharded = shard(whole, 2);
    for (const RankGraph& rank : sharded.ranks) {
      EXPECT_GE(count(rank.graph, "all_reduce"), 2 * c.n_layers + 1);
      EXPECT_LE(count(rank.graph, "all_reduce"), 2 * c.n_layers + 2);
      EXPECT_EQ(count(rank.graph, "all_gather"), 1);
      const double share =
          static_cast<double>(weight_bytes(rank.graph)) / static_cast<double>(weight_bytes(whole));
      EXPECT_LT(share, 0.53);
    }
  }
}

TEST(Shard, AnErrorOfOneRankEndsTheStep) {
  Pipeline pipeline(Model::open(fixture("llama").string(), Registry(), DType::kFloat32),
                    with_ranks(2));
  const std::vector<int32_t> ids = {1, 2, 3};
  const std::vector<double> before = logits_of(pipeline, ids);
  Sequence sequence;
  const Segment segment{&sequence, ids, LogitRows::kLast};
  pipeline.observe({pipeline.graph().outputs[0].value},
                   [](ValueId, const View&) { throw Error(ErrorCode::kInternal, "stop here"); });
  EXPECT_THROW(pipeline.step({&segment, 1}), Error);
  pipeline.observe({}, nullptr);
  pipeline.release(sequence);
  EXPECT_EQ(logits_of(pipeline, ids), before);
}

}  // namespace
}  // namespace lockstep::test
