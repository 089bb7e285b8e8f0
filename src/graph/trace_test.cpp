// Tracing: the audit both ways, ties, prefixes, and errors that name the module.
#include "graph/trace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "lockstep/lockstep.h"

namespace lockstep {
namespace {

struct Block : Module<Block> {
  static constexpr const char* kClass = "Block";
  Linear up, down;
  Block(const Scope& s, int64_t width)
      : Module(s), up(s / "up", width, 2 * width), down(s / "down", 2 * width, width) {}
  Value forward(const Value& x) const { return x + down(activation(up(x), "silu")); }
};

// Set by a test before it traces: what the model does besides.
std::function<void(Builder&, const Value&)> g_extra;

struct Tiny : Module<Tiny> {
  static constexpr const char* kClass = "Tiny";
  int64_t width;
  bool tied;
  Embedding embed;
  Block block;
  Linear head;
  Tiny(const Scope& s, const Config& c)
      : Module(s),
        width(c.size("width", 8)),
        tied(c.flag("tied", true)),
        embed(s / "model" / "embed", 16, width),
        block(s / "model" / "block", width),
        head(tied ? Linear(s / "head", embed) : Linear(s / "head", width, 16)) {
    s.builder().drop("*.inv_freq", "a buffer");
  }
  Value forward(const Step& step) const {
    Value x = embed(step.input_ids());
    if (g_extra) g_extra(step.builder(), x);
    x = block(block(x));
    return head(step.logits_to_keep(x));
  }
};

}  // namespace
}  // namespace lockstep

#define LOCKSTEP_BUILTIN
LOCKSTEP_ARCHITECTURE(tiny, "Tiny", "model", lockstep::Tiny)

namespace lockstep {
namespace {

using Tensors = std::vector<std::pair<std::string, std::vector<int64_t>>>;

Tensors stored() {
  return {{"model.embed.weight", {16, 8}},
          {"model.block.up.weight", {16, 8}},
          {"model.block.down.weight", {8, 16}}};
}

Trace trace_tiny(const Tensors& tensors, const std::string& config = "{}",
                 DType dtype = DType::kBFloat16) {
  std::vector<TensorEntry> entries;
  uint64_t at = 0;
  for (const auto& [name, shape] : tensors) {
    const auto bytes = static_cast<uint64_t>(checked_product(shape)) * dtype_size(dtype);
    entries.push_back({name, dtype, shape, at, at + bytes});
    at += bytes;
  }
  const ConfigFile parsed = ConfigFile::parse(config, "config.json");
  const Checkpoint checkpoint = Checkpoint::from_headers(entries);
  return trace(lockstep_architecture_tiny, parsed, checkpoint, DType::kFloat32);
}

std::string error_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.message();
  }
  return "no error";
}

void expect_has(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts) {
    EXPECT_NE(text.find(part), std::string::npos) << part << " in: " << text;
  }
}

class TraceTest : public ::testing::Test {
 protected:
  void TearDown() override { g_extra = nullptr; }
};

TEST_F(TraceTest, FittingCheckpointHoldsAndTheTieIsSaid) {
  const Trace t = trace_tiny(stored());
  EXPECT_TRUE(t.audit.holds());
  ASSERT_EQ(t.audit.ties.size(), 1u);
  EXPECT_EQ(t.audit.ties[0].path, "head.weight");
  EXPECT_EQ(t.audit.ties[0].source, "model.embed.weight");
  EXPECT_FALSE(t.audit.ties[0].stored_twice);
  EXPECT_EQ(t.graph.outputs[0].name, "logits");
  EXPECT_EQ(to_string(t.graph.type(t.graph.outputs[0].value)), "float32[logit_rows, 16]");
}

TEST_F(TraceTest, RepeatedCallsAreCountedAndShareWeights) {
  const Trace t = trace_tiny(stored());
  const auto first = t.graph.find_call("model.block.up", 0);
  const auto second = t.graph.find_call("model.block.up", 1);
  ASSERT_TRUE(first && second);
  EXPECT_FALSE(t.graph.find_call("model.block.up", 2));
  EXPECT_EQ(t.graph.parameters.size(), 4u);
  EXPECT_NE(t.graph.calls[*first].outputs, t.graph.calls[*second].outputs);
}

TEST_F(TraceTest, HeadStoredTwiceIsNotSurplus) {
  Tensors tensors = stored();
  tensors.push_back({"head.weight", {16, 8}});
  const Trace t = trace_tiny(tensors);
  EXPECT_TRUE(t.audit.holds());
  EXPECT_TRUE(t.audit.ties[0].stored_twice);
}

TEST_F(TraceTest, HeadAloneServesTheEmbedding) {
  Tensors tensors = stored();
  tensors[0].first = "head.weight";
  const Trace t = trace_tiny(tensors);
  EXPECT_TRUE(t.audit.holds());
  for (const Parameter& parameter : t.graph.parameters) {
    if (parameter.path == "model.embed.weight") {
      EXPECT_EQ(parameter.stored, "head.weight");
    }
  }
}

TEST_F(TraceTest, NamesBindWithoutTheBaseModelPrefix) {
  const Trace t = trace_tiny(
      {{"embed.weight", {16, 8}}, {"block.up.weight", {16, 8}}, {"block.down.weight", {8, 16}}});
  EXPECT_TRUE(t.audit.holds());
  EXPECT_EQ(t.audit.prefix_change, "-model.");
}

TEST_F(TraceTest, MissingSurplusAndDroppedAreToldApart) {
  const Trace t = trace_tiny({{"model.embed.weight", {16, 8}},
                              {"model.block.down.weight", {8, 16}},
                              {"model.block.gate.weight", {16, 8}},
                              {"model.rope.inv_freq", {4}}});
  EXPECT_FALSE(t.audit.holds());
  EXPECT_EQ(t.audit.missing, std::vector<std::string>{"model.block.up.weight [16, 8]"});
  EXPECT_EQ(t.audit.surplus, std::vector<std::string>{"model.block.gate.weight"});
  ASSERT_EQ(t.audit.dropped.size(), 1u);
  EXPECT_EQ(t.audit.dropped[0].stored, "model.rope.inv_freq");
  expect_has(error_of([&] { require(t.audit, "Tiny"); }),
             {"Tiny", "model.block.up.weight [16, 8]", "model.block.gate.weight"});
}

TEST_F(TraceTest, ShapeAgainstHeaderNamesBothAndComesBeforeWhatFollowsFromIt) {
  Tensors tensors = stored();
  tensors[1].second = {16, 9};
  const Trace t = trace_tiny(tensors);
  ASSERT_EQ(t.audit.mismatched.size(), 1u);
  expect_has(t.audit.mismatched[0], {"model.block.up.weight", "[16, 8]", "[16, 9]", "config.json"});
  g_extra = [](Builder& b, const Value& x) {
    b.op("reshape", {x}, {{"tail", std::vector<int64_t>{3}}});
  };
  expect_has(error_of([&] { trace_tiny(tensors); }),
             {"[16, 9]", "and then", "config.json", "[reshape]"});
}

TEST_F(TraceTest, PartsAreCheckedAndBound) {
  g_extra = [](Builder& b, const Value&) {
    b.parameter_of(
        "joined.weight", {4, 8},
        {{"a.weight"}, {"b.weight", 1, 3}, {"c.weight", 0, 0, Part::Order::kTransposed}});
  };
  Tensors tensors = stored();
  tensors.push_back({"a.weight", {1, 8}});
  tensors.push_back({"b.weight", {5, 8}});
  tensors.push_back({"c.weight", {8, 1}});
  const Trace t = trace_tiny(tensors);
  EXPECT_TRUE(t.audit.holds());
  const Parameter& joined = t.graph.parameters.back();
  ASSERT_EQ(joined.parts.size(), 3u);
  EXPECT_EQ(joined.parts[1].begin, 1);
  EXPECT_EQ(joined.parts[1].end, 3);
  EXPECT_TRUE(joined.parts[2].transpose);

  tensors[3].second = {2, 8};
  EXPECT_EQ(trace_tiny(tensors).audit.mismatched.size(), 1u);
  tensors[3].first = "other";
  const Trace missing = trace_tiny(tensors);
  ASSERT_EQ(missing.audit.missing.size(), 1u);
  expect_has(missing.audit.missing[0], {"a.weight", "joined.weight"});
}

TEST_F(TraceTest, ATransposedMatrixMustHaveTheOtherShapeAndNotJustAsManyElements) {
  g_extra = [](Builder& b, const Value&) {
    b.parameter_of("turned.weight", {4, 8}, {{"a.weight", 0, 0, Part::Order::kTransposed}});
  };
  Tensors tensors = stored();
  tensors.push_back({"a.weight", {8, 4}});
  EXPECT_TRUE(trace_tiny(tensors).audit.holds());
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{4, 8}, {2, 16}}) {
    tensors.back().second = shape;
    const Trace t = trace_tiny(tensors);
    ASSERT_EQ(t.audit.mismatched.size(), 1u);
    expect_has(t.audit.mismatched[0], {"turned.weight", "expected [8, 4]", "found"});
  }
  tensors.back().second = {8, 5};
  EXPECT_EQ(trace_tiny(tensors).audit.mismatched.size(), 1u);
}

TEST_F(TraceTest, IntegerWeightsAreNoFloats) {
  const Trace t = trace_tiny(stored(), "{}", DType::kBFloat16);
  EXPECT_TRUE(t.audit.mismatched.empty());
  expect_has(error_of([] { trace_tiny(stored(), "{}", DType::kInt8); }),
             {"model.embed.weight", "int8"});
}

TEST_F(TraceTest, BranchOnASymbolicSizeIsAnError) {
  g_extra = [](Builder&, const Value& x) { (void)x.size(0); };
  expect_has(error_of([] { trace_tiny(stored()); }), {"size(0)", "only when a step runs"});
}

TEST_F(TraceTest, UnknownOpInputAndValueAreErrors) {
  g_extra = [](Builder& b, const Value& x) { b.op("warp", {x}); };
  expect_has(error_of([] { trace_tiny(stored()); }), {"warp", "no such op"});
  g_extra = [](Builder& b, const Value&) { b.input("@weather"); };
  expect_has(error_of([] { trace_tiny(stored()); }), {"@weather", "@positions"});
  g_extra = [](Builder& b, const Value&) { b.op("elementwise", {Value(&b, {9999, 0})}); };
  expect_has(error_of([] { trace_tiny(stored()); }), {"9999", "does not exist"});
}

TEST_F(TraceTest, ForeignExceptionsEndAtTheBoundary) {
  g_extra = [](Builder&, const Value&) { throw 42; };
  expect_has(error_of([] { trace_tiny(stored()); }), {"no std::exception"});
  g_extra = [](Builder&, const Value&) { throw std::runtime_error("boom"); };
  expect_has(error_of([] { trace_tiny(stored()); }), {"boom"});
}

TEST_F(TraceTest, CacheTwiceInOneCallIsRefused) {
  g_extra = [](Builder& b, const Value&) {
    b.paged_cache("k_cache", 2, 4);
    b.paged_cache("k_cache", 2, 4);
  };
  expect_has(error_of([] { trace_tiny(stored()); }), {"k_cache", "twice"});
}

TEST_F(TraceTest, ExtractedModuleHasItsOwnInputsWeightsAndOutputs) {
  const Trace t = trace_tiny(stored());
  const Graph part = extract(t.graph, *t.graph.find_call("model.block", 1));
  std::vector<std::string> inputs;
  for (const Node& node : part.nodes) {
    if (node.kind == NodeKind::kInput) inputs.push_back(node.name);
  }
  EXPECT_EQ(inputs, std::vector<std::string>{"argument.0"});
  EXPECT_EQ(part.parameters.size(), 2u);
  ASSERT_EQ(part.outputs.size(), 1u);
  EXPECT_EQ(part.outputs[0].name, "output.0");
  EXPECT_EQ(part.calls.size(), 3u);
  EXPECT_TRUE(part.find_call("model.block.down", 1));
}

TEST_F(TraceTest, ReplacedKeysReadAsThePortSaysAndStayUnread) {
  const ConfigFile config =
      ConfigFile::parse(R"({"width": 4, "rope_theta": 3.0, "act": "silu"})", "config.json");
  int64_t width = 0;
  double theta = 0;
  std::string act;
  g_extra = [&](Builder& b, const Value&) {
    const Config c(b);
    c.replace("width", "8");
    c.replace("rope_parameters");
    c.replace("nested", R"({"names": ["a", "b"]})");
    width = Config(b).size("width", 1);
    theta = c.at("rope_parameters").number("rope_theta", 7);
    act = c.text("act");
    EXPECT_EQ(c.at("nested").texts("names").size(), 2u);
    EXPECT_EQ(c.at("nested").text("names.1"), "b");
    c.replace("width", "9");
    EXPECT_EQ(c.integer("width"), 9);
    c.replace("act");
    EXPECT_THROW(c.text("act"), Error);
  };
  trace(lockstep_architecture_tiny, config, Checkpoint::from_headers({}), DType::kFloat32);
  EXPECT_EQ(width, 8);
  EXPECT_EQ(theta, 7);
  EXPECT_EQ(act, "silu");
  const std::vector<std::string> unread = config.unread();
  EXPECT_NE(std::ranges::find(unread, "rope_theta"), unread.end());
}

// A block under another name, that wires its parts otherwise; and one that does not.
struct Renamed : ModuleFrom<Renamed, Block> {
  static constexpr const char* kClass = "Renamed";
  using ModuleFrom::ModuleFrom;
};
struct Rewired : ModuleFrom<Rewired, Block> {
  static constexpr const char* kClass = "Rewired";
  using ModuleFrom::ModuleFrom;
  Value forward(const Value& x) const { return down(up(x)); }
};

TEST_F(TraceTest, AModuleOfAnothersPartsHasItsOwnNameAndForward) {
  g_extra = [&](Builder& b, const Value& x) {
    const Scope scope(b, "model.block");
    Renamed(scope, 8)(x);
    Rewired(scope, 8)(x);
  };
  const Trace traced = trace_tiny(stored());
  std::vector<std::string> classes;
  size_t n_activations = 0;
  for (const Call& call : traced.graph.calls) {
    if (call.path == "model.block") classes.push_back(call.class_name);
  }
  for (const Node& node : traced.graph.nodes) {
    const bool is_op = node.kind == NodeKind::kOp && node.op->name == std::string("activation");
    n_activations += is_op && node.attrs.get_string("fn", "") == "silu" ? 1 : 0;
  }
  EXPECT_EQ(classes, (std::vector<std::string>{"Renamed", "Rewired", "Block", "Block"}));
  EXPECT_EQ(n_activations, 3u);
}

}  // namespace
}  // namespace lockstep
