#include "parity/isolate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "lockstep/error.h"
#include "parity/diff.h"
#include "parity/replay_values.h"
#include "parity/run_replay.h"

namespace lockstep::parity {
namespace {

// Of a value's measured floor. In bfloat16 sound ports are at most 2.7 times theirs (one step's
// attention; 1.7 times elsewhere, of 10,000 values of seventeen models). In float32, where the
// floor is one rounding and another order of accumulation makes several, a dot product that cancels
// is 5.8 times its own.
constexpr double kFloorFactor = 3, kFloat32Factor = 10;
// What another order of accumulation makes where nothing cancels; sound ports stay at half.
constexpr double kFloat32Bar = 1e-6;
// Terms of a sum for which that holds: 5,632 of them make three times as much.
constexpr int64_t kShortSum = 512;
// Of a prefill's tokens, ties that send them to other experts.
constexpr double kTiedRows = 0.25;

// Of the share of rows with other ids. Equal scores in low precision are broken either way.
double ids_bar(const RunInfo& run, const View& ids) {
  if (run.dtype == "float32") return 0;
  return std::max(kTiedRows, 1.0 / static_cast<double>(ids.rows()));
}

IsolatedTap isolate_value(RunReplay& replay, const RunReplay::Target& target) {
  const Graph part = cut(replay.graph(), target.value, replay.known());
  const RunReplay::Caches before = replay.caches_before(part);
  RunReplay::Caches caches;
  for (const auto& [name, tensor] : before) caches.emplace(name, Tensor::copy_of(tensor.view()));
  const Tensor found = replay.execute(part, caches, {});
  IsolatedTap tap;
  tap.run = replay.run().info.id;
  tap.path = target.path;
  tap.module_class = target.module_class;
  int64_t n_ops = 0;
  for (const Node& node : part.nodes) {
    if (node.kind != NodeKind::kOp || node.op->run == nullptr) continue;
    ++n_ops;
    tap.ops += (tap.ops.empty() ? "" : ", ") + std::string(node.op->name);
  }
  if (n_ops == 0) tap.ops = "nothing";
  tap.isolated = difference(found.view(), replay.recorded(target.value));
  const RunInfo& info = replay.run().info;
  tap.bar = is_integer(found.view().dtype)
                ? ids_bar(info, found.view())
                : isolation_bar(info.dtype, n_ops, replay.response(part, before, found));
  return tap;
}

void replay_run(RunReplay& run, const Recording* port, IsolateReport& report) {
  run.prepare();
  std::ranges::copy(run.unrecorded(), std::back_inserter(report.not_replayed));
  const std::map<ValueId, double> accumulated = run.accumulated(port);
  for (const RunReplay::Target& target : run.targets()) {
    try {
      IsolatedTap tap = isolate_value(run, target);
      tap.accumulated = accumulated.at(target.value);
      // A value that is not finite compares false, and is a source.
      if (!(tap.isolated <= tap.bar)) {
        tap.verdict = IsolatedTap::Verdict::kSource;
      } else if (!(tap.accumulated <= tap.bar)) {
        tap.verdict = IsolatedTap::Verdict::kCarrier;
      }
      report.taps.push_back(std::move(tap));
    } catch (const Error& error) {
      report.not_replayed.push_back(
          fmt::format("{} {}: {}", run.run().info.id, target.path, error.message()));
    }
  }
}

}  // namespace

bool IsolateReport::sound() const {
  return std::ranges::none_of(
      taps, [](const IsolatedTap& tap) { return tap.verdict == IsolatedTap::Verdict::kSource; });
}

double isolation_bar(const std::string& dtype, int64_t n_ops, double response) {
  const double ops = std::sqrt(static_cast<double>(std::max<int64_t>(1, n_ops)));
  const double floor = response + one_rounding(dtype) * ops;
  if (dtype != "float32") return kFloorFactor * floor;
  return std::max(kFloat32Factor * floor, kFloat32Bar * ops);
}

double isolation_bar(const std::string& dtype, int64_t n_ops, double response, int64_t n_summed) {
  const double bar = isolation_bar(dtype, n_ops, response);
  if (dtype != "float32" || n_summed <= kShortSum) return bar;
  const double ops = std::sqrt(static_cast<double>(std::max<int64_t>(1, n_ops)));
  const double length = static_cast<double>(n_summed) / static_cast<double>(kShortSum);
  return std::max(bar, kFloat32Bar * ops * std::sqrt(length));
}

IsolateReport isolate(Pipeline& pipeline, const Recording& reference, const Recording* port) {
  IsolateReport report;
  const std::string dtype(dtype_name(pipeline.graph().activation_dtype));
  const std::set<std::string> other_rows = misfits(pipeline.graph(), reference);
  size_t n_runs = 0;
  for (const Run& run : reference.runs) {
    if (run.info.dtype != dtype || run.info.prompt_ids.empty() || run.taps.empty()) continue;
    ++n_runs;
    RunReplay replay(pipeline, reference, other_rows, run);
    replay_run(replay, port, report);
  }
  if (n_runs == 0) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected runs in {} with taps, found none",
                            reference.path.string(), dtype),
                "record the reference in that dtype, or choose --dtype");
  }
  return report;
}

}  // namespace lockstep::parity
