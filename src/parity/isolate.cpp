#include "parity/isolate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "lockstep/error.h"
#include "parity/diff.h"
#include "parity/replay_values.h"
#include "parity/run_replay.h"
#include "parity/split_values.h"

namespace lockstep::parity {
namespace {

// Of a value's measured floor. In bfloat16 sound ports are at most 2.7 times theirs (one step's
// attention; 1.7 times elsewhere, of 10,000 values of seventeen models). In float32, where the
// floor is one rounding and another order of accumulation makes several, a dot product that cancels
// is 5.8 times its own.
constexpr double kFloorFactor = 3, kFloat32Factor = 10;
// What another order of accumulation makes where nothing cancels; sound ports stay at half.
constexpr double kFloat32Bar = 1e-6;
// Of a prefill's tokens, ties that send them to other experts.
constexpr double kTiedRows = 0.25;

// Of the share of rows with other ids. Equal scores in low precision are broken either way.
double ids_bar(const RunInfo& run, const View& ids) {
  if (run.dtype == "float32") return 0;
  return std::max(kTiedRows, 1.0 / static_cast<double>(ids.rows()));
}

RunReplay::Caches copy_of(const RunReplay::Caches& caches) {
  RunReplay::Caches copies;
  for (const auto& [name, tensor] : caches) copies.emplace(name, Tensor::copy_of(tensor.view()));
  return copies;
}

// Where the port hands one value on as several of the reference's, whoever reads it may mean any of
// them: the values that `part` reads, each with the others that its data stands for.
std::vector<std::pair<ValueId, ValueId>> other_meanings(const RunReplay& replay,
                                                        const Graph& part) {
  std::vector<std::pair<ValueId, ValueId>> meanings;
  const std::set<ValueId> known = replay.known();
  for (const ValueId& read : known) {
    if (!part.find_input(value_name(read))) continue;
    for (const ValueId& other : known) {
      const bool is_other =
          other != read && replay.graph().storage(other) == replay.graph().storage(read) &&
          !is_same_value(replay.recorded(other), replay.recorded(read), replay.run().info.dtype);
      if (is_other) meanings.emplace_back(read, other);
    }
  }
  return meanings;
}

// How far off the value is, with each input as the one of its meanings that fits best: one of them
// changed, or all.
double least_difference(RunReplay& replay, const RunReplay::Target& target, const Graph& part,
                        const RunReplay::Caches& before, double found) {
  const std::vector<std::pair<ValueId, ValueId>> meanings = other_meanings(replay, part);
  const auto with = [&](std::span<const std::pair<ValueId, ValueId>> chosen) {
    RunReplay::Feed feed;
    for (const auto& [read, other] : chosen) {
      feed.known.insert_or_assign(replay.name_of(read), Tensor::copy_of(replay.recorded(other)));
    }
    const Tensor again = replay.execute(part, copy_of(before), feed);
    return difference(again.view(), replay.recorded(target.value));
  };
  double least = found;
  for (const auto& meaning : meanings) least = std::fmin(least, with({&meaning, 1}));
  if (meanings.size() > 1) least = std::fmin(least, with(meanings));
  return least;
}

IsolatedTap isolate_value(RunReplay& replay, const RunReplay::Target& target) {
  const Graph part = cut(replay.graph(), target.value, replay.known());
  const RunReplay::Caches before = replay.caches_before(part);
  const Tensor found = replay.execute(part, copy_of(before), {});
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
  if (n_ops > 0 && !(tap.isolated <= tap.bar)) {
    const double least = least_difference(replay, target, part, before, tap.isolated);
    // A value that is wrong in either meaning is judged in the one it has.
    if (least <= tap.bar) tap.isolated = least;
  }
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
