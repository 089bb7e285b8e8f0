#include "parity/explain/stack.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "parity/replay_values.h"

namespace lockstep::parity {
namespace {

// The run's logits, computed by the port from its tokens and, at `given`, the reference's values.
double logits_error(RunReplay& replay, const std::set<ValueId>& given, double* bar) {
  const Graph& graph = replay.graph();
  const ValueId logits = graph.outputs.front().value;
  const Run& run = replay.run();
  for (const ValueId& value : given) {
    if (graph.storage(value) == graph.storage(logits)) return 0;
  }
  const Graph part = cut(graph, logits, given);
  const RunReplay::Caches before = replay.caches_before(part);
  const Tensor found = replay.execute(part, before, {});
  View rows = found.view();
  const int64_t n_rows = run.logits->view.elements() / rows.dim(-1);
  if (n_rows > rows.dim(0)) return NAN;
  // Where the reference kept the last rows alone, these are compared.
  rows.data = static_cast<std::byte*>(rows.data) +
              static_cast<size_t>((rows.dim(0) - n_rows) * rows.stride[0]) * dtype_size(rows.dtype);
  rows.shape[0] = n_rows;
  if (bar != nullptr) {
    const auto n_ops = std::ranges::count_if(part.nodes, [](const Node& node) {
      return node.kind == NodeKind::kOp && node.op->run != nullptr;
    });
    *bar = isolation_bar(run.info.dtype, n_ops, 0);
  }
  return difference(rows, run.logits->view);
}

bool shows(const Fault& fault, RunReplay& replay) {
  return std::ranges::any_of(replay.targets(), [&](const RunReplay::Target& target) {
    return std::ranges::find(fault.paths, target.path) != fault.paths.end();
  });
}

// All recorded values that hold the same data as the fault's.
void add_values(const Fault& fault, RunReplay& replay, std::set<ValueId>& given) {
  const Graph& graph = replay.graph();
  for (const RunReplay::Target& target : replay.targets()) {
    if (std::ranges::find(fault.paths, target.path) == fault.paths.end()) continue;
    for (const ValueId& value : replay.known()) {
      if (graph.storage(value) == graph.storage(target.value)) given.insert(value);
    }
  }
}

const Run* choose_run(const Recording& reference, const std::string& dtype,
                      const ExplainReport& report) {
  const Run* best = nullptr;
  std::tuple<bool, size_t, size_t> most;
  for (const Run& run : reference.runs) {
    if (run.info.dtype != dtype || !run.logits || run.taps.empty()) continue;
    size_t n_judged = 0;
    for (const Fault& fault : report.faults) n_judged += fault.run == run.info.id;
    const std::tuple rank(run.info.phase == Phase::kPrefill, n_judged, run.info.prompt_ids.size());
    if (best != nullptr && rank <= most) continue;
    best = &run;
    most = rank;
  }
  return best;
}

}  // namespace

void put_right(const Pipeline& pipeline, const Recording& reference, const ReplayOf& replay_of,
               ExplainReport& report) {
  const std::string dtype(dtype_name(pipeline.graph().activation_dtype));
  const Run* run = choose_run(reference, dtype, report);
  if (run == nullptr) return;
  RunReplay& replay = replay_of(run->info.id);
  std::set<ValueId> given;
  double error = logits_error(replay, given, &report.logits_bar);
  for (Fault& fault : report.faults) {
    if (!shows(fault, replay)) continue;
    fault.logits_before = error;
    add_values(fault, replay, given);
    error = logits_error(replay, given, nullptr);
    fault.logits_after = error;
  }
  report.logits_run = run->info.id;
  report.logits_left = error;
}

}  // namespace lockstep::parity
