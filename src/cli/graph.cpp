// lockstep graph: the traced graph of a model, from config.json and tensor headers alone.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "cli/command.h"
#include "cli/model_options.h"
#include "graph/plan.h"
#include "lockstep/error.h"

namespace lockstep::cli {
namespace {

struct GraphOptions {
  ModelOptions model;
  std::string module;
  bool json = false;
};

std::string value_name(const Graph& graph, ValueId v) {
  const Node& node = graph.node(v);
  if (node.kind != NodeKind::kOp) return node.name;
  return node.outputs.size() == 1 ? fmt::format("%{}", v.node)
                                  : fmt::format("%{}.{}", v.node, v.output);
}

nlohmann::json node_json(const Graph& graph, uint32_t n) {
  const Node& node = graph.nodes[n];
  nlohmann::json inputs = nlohmann::json::array();
  for (const ValueId& input : node.inputs) inputs.push_back(value_name(graph, input));
  nlohmann::json outputs = nlohmann::json::array();
  for (const TensorType& type : node.outputs) outputs.push_back(to_string(type));
  return {{"value", value_name(graph, {n, 0})},
          {"op", node.op == nullptr ? "" : std::string(node.op->name)},
          {"inputs", inputs},
          {"outputs", outputs},
          {"attrs", to_string(node.attrs)},
          {"module", node.call == kNoCall ? "" : graph.calls[node.call].path}};
}

// The plan of one step of 512 tokens of one sequence, logits of the last row.
Plan example_plan(const Graph& graph) {
  SymbolValues most{};
  most.fill(1);
  most[static_cast<size_t>(Symbol::kTokens)] = 512;
  most[static_cast<size_t>(Symbol::kSequenceOffsets)] = 2;
  most[static_cast<size_t>(Symbol::kPageSize)] = 16;
  return plan_memory(graph, most);
}

void print_nodes(const Graph& graph, uint32_t begin, uint32_t end) {
  for (uint32_t n = begin; n < end; ++n) {
    const Node& node = graph.nodes[n];
    if (node.kind != NodeKind::kOp) continue;
    std::string inputs;
    for (const ValueId& input : node.inputs) {
      inputs += (inputs.empty() ? "" : ", ") + value_name(graph, input);
    }
    std::string outputs;
    for (const TensorType& type : node.outputs) {
      outputs += (outputs.empty() ? "" : ", ") + to_string(type);
    }
    std::string attrs = to_string(node.attrs);
    if (attrs.size() > 60) attrs = attrs.substr(0, 57) + "...";
    fmt::print("  %{:<5} {:<16} {}\n", n, node.op->name, outputs);
    fmt::print("         of {}\n", inputs);
    if (!attrs.empty()) fmt::print("         {}\n", attrs);
  }
}

void print_calls(const Graph& graph) {
  for (const Call& call : graph.calls) {
    std::string outputs;
    for (const ValueId& v : call.outputs) {
      outputs += (outputs.empty() ? "" : ", ") + to_string(graph.type(v));
    }
    const std::string path = call.path.empty() ? "(model)" : call.path;
    fmt::print("{:<46} {:<20} {}\n", path, call.class_name, outputs);
  }
}

int graph(const GraphOptions& options) {
  const Model model = options.model.open();
  const Graph& g = model.trace.graph;
  uint32_t begin = 0;
  auto end = static_cast<uint32_t>(g.nodes.size());
  if (!options.module.empty()) {
    const std::optional<uint32_t> call = g.find_call(options.module);
    if (!call) {
      throw Error(
          ErrorCode::kNotFound,
          fmt::format("--module: {} is no module path of {}", options.module, g.architecture),
          "`lockstep graph MODEL` lists them");
    }
    begin = g.calls[*call].begin;
    end = g.calls[*call].end;
  }
  if (options.json) {
    nlohmann::json nodes = nlohmann::json::array();
    for (uint32_t n = begin; n < end; ++n) {
      if (g.nodes[n].kind == NodeKind::kOp) nodes.push_back(node_json(g, n));
    }
    fmt::print("{}\n", nlohmann::json{{"architecture", g.architecture},
                                      {"parameters", g.parameters.size()},
                                      {"caches", g.caches.size()},
                                      {"nodes", nodes}}
                           .dump());
    return 0;
  }
  if (!options.module.empty()) {
    print_nodes(g, begin, end);
    return 0;
  }
  print_calls(g);
  const Plan plan = example_plan(g);
  const double mib = 1024.0 * 1024.0;
  fmt::print("{}: {} nodes, {} module calls, {} weights, {} caches, {} between modules\n",
             g.architecture, g.nodes.size(), g.calls.size(), g.parameters.size(), g.caches.size(),
             dtype_name(g.activation_dtype));
  fmt::print("memory plan for 512 tokens: {:.2f} MiB ({:.2f} MiB without sharing)\n",
             static_cast<double>(plan.arena_bytes) / mib,
             static_cast<double>(plan.unshared_bytes) / mib);
  fmt::print("next: lockstep graph MODEL --module {}\n", g.calls.back().path);
  return 0;
}

}  // namespace

void add_graph(CLI::App& app, Action& action) {
  auto options = std::make_shared<GraphOptions>();
  CLI::App* command =
      add_command(app, "graph", "The traced graph: modules, values, shapes, memory plan",
                  "lockstep graph examples/storyteller --module model.layers.0.self_attn");
  options->model.add_to(*command);
  command->add_option("--module", options->module, "the nodes of one module call")
      ->type_name("PATH");
  command->add_flag("--json", options->json, "one JSON document on stdout");
  command->callback([options, &action] {
    action.json = options->json;
    action.run = [options] { return graph(*options); };
  });
}

}  // namespace lockstep::cli
