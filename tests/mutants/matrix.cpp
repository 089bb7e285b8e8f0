#include "matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>

#include "lockstep/error.h"
#include "parity/diff.h"
#include "parity/dump.h"
#include "runtime/pipeline.h"

namespace lockstep::mutants {
namespace {

// Longer than the windows of the fixtures (24), so that these bite.
constexpr size_t kPromptTokens = 40;
constexpr size_t kDecodeSteps = 2;
constexpr uint64_t kPromptSeed = 20;
constexpr uint32_t kPlainIds = 900;  // below: in every fixture's vocabulary

Pipeline open_sound(const std::string& fixture, DType dtype) {
  PipelineOptions options;
  options.max_tokens = options.max_logit_rows = 64;
  options.max_context = 128;
  options.threads = 1;
  return Pipeline(Model::open(test::fixture(fixture).string(), Registry(), dtype), options);
}

parity::Run planned_run(DType dtype, std::vector<int64_t> ids, int step) {
  parity::Run run;
  run.info.dtype = dtype_name(dtype);
  run.info.prompt_ids = std::move(ids);
  run.info.phase = step == 0 ? parity::Phase::kPrefill : parity::Phase::kDecode;
  run.info.step = step;
  return run;
}

std::vector<parity::PlannedSequence> plan(DType dtype) {
  std::mt19937_64 random(kPromptSeed);
  std::vector<int64_t> ids;
  for (size_t i = 0; i < kPromptTokens; ++i)
    ids.push_back(static_cast<int64_t>(random() % kPlainIds));
  parity::Recording wanted;
  for (size_t step = 0; step <= kDecodeSteps; ++step) {
    if (step > 0) ids.push_back(static_cast<int64_t>(random() % kPlainIds));
    wanted.runs.push_back(planned_run(dtype, ids, static_cast<int>(step)));
  }
  return parity::plan_like(wanted, 64);
}

// What a tap is called by isolated replay.
std::string name_of(const Tap& tap) {
  if (tap.role == Tap::Role::kOutput) return tap.path;
  return tap.path + ":input" + (tap.index > 0 ? fmt::format(".{}", tap.index) : "");
}

// Which taps a changed node is behind, with no recorded value in between.
class Guilt {
 public:
  explicit Guilt(const Graph& graph) : graph_(graph) {
    for (const Tap& tap : list_taps(graph, "*", TapInputs::kYes)) {
      if (graph.node(tap.value).kind != NodeKind::kOp) continue;
      values_.emplace(name_of(tap), tap.value);
      known_.insert(tap.value);
    }
    values_.emplace("logits", graph.outputs[0].value);
  }

  bool is_behind(const std::set<uint32_t>& changed, const std::string& name) const {
    const auto at = values_.find(name);
    if (at == values_.end()) return false;
    std::set<uint32_t> seen;
    std::vector<uint32_t> open = {at->second.node};
    while (!open.empty()) {
      const uint32_t n = open.back();
      open.pop_back();
      if (graph_.nodes[n].kind != NodeKind::kOp || !seen.insert(n).second) continue;
      if (changed.contains(n)) return true;
      for (const ValueId& input : graph_.nodes[n].inputs) {
        if (!known_.contains(input)) open.push_back(input.node);
        if (graph_.node(input).kind == NodeKind::kInput) add_writers(input, n, open);
      }
    }
    return false;
  }

 private:
  void add_writers(ValueId input, uint32_t end, std::vector<uint32_t>& open) const {
    for (uint32_t n = 0; n < end; ++n) {
      const Node& node = graph_.nodes[n];
      for (size_t i = 0; node.kind == NodeKind::kOp && i < node.inputs.size(); ++i) {
        if (node.inputs[i] == input && (node.op->mutated_inputs >> i & 1) != 0) open.push_back(n);
      }
    }
  }

  const Graph& graph_;
  std::map<std::string, ValueId> values_;
  std::set<ValueId> known_;
};

struct PlantedFault {
  const FaultKind* kind;
  std::set<uint32_t> changed;
  std::set<std::string> renamed;

  bool explains(const Guilt& guilt, const std::string& source) const {
    return renamed.contains(source) || guilt.is_behind(changed, source);
  }
};

void judge(const std::vector<PlantedFault>& planted, const Graph& graph,
           const parity::IsolateReport& report, Outcome& outcome) {
  const Guilt guilt(graph);
  for (const parity::IsolatedTap& tap : report.taps) {
    outcome.moved =
        std::max(outcome.moved, std::isnan(tap.accumulated) ? INFINITY : tap.accumulated);
    if (tap.verdict != parity::IsolatedTap::Verdict::kSource) continue;
    if (std::ranges::find(outcome.sources, tap.path) != outcome.sources.end()) continue;
    outcome.sources.push_back(tap.path);
  }
  outcome.is_under_floor = outcome.moved <= parity::kFloat32TapBar;
  for (const std::string& source : outcome.sources) {
    const bool is_known = std::ranges::any_of(
        planted, [&](const PlantedFault& fault) { return fault.explains(guilt, source); });
    if (!is_known) outcome.innocent.push_back(source);
  }
  for (const PlantedFault& fault : planted) {
    const bool is_found = std::ranges::any_of(
        outcome.sources, [&](const std::string& source) { return fault.explains(guilt, source); });
    if (!is_found) outcome.missed.emplace_back(fault.kind->id);
  }
}

}  // namespace

std::string to_string(const Mutant& mutant) {
  std::string ids;
  for (const FaultKind* kind : mutant.kinds)
    ids += (ids.empty() ? "" : "+") + std::string(kind->id);
  return fmt::format("{} {} {} {}", ids, mutant.fixture, mutant.magnitude, mutant.seed);
}

const parity::Recording& Matrix::reference(const std::string& fixture, DType dtype) {
  Reference* entry = nullptr;
  {
    const std::lock_guard lock(mutex_);
    auto& slot = references_[{fixture, dtype}];
    if (slot == nullptr) slot = std::make_unique<Reference>();
    entry = slot.get();
  }
  std::call_once(entry->once, [&] {
    Pipeline sound = open_sound(fixture, dtype);
    const std::filesystem::path folder =
        temp_.path() / fmt::format("{}-{}", fixture, dtype_name(dtype));
    parity::dump({&sound}, plan(dtype), {.inputs = TapInputs::kYes}, folder);
    entry->recording = parity::read_recording(folder);
  });
  return entry->recording;
}

std::vector<std::string> Matrix::false_alarms(const std::string& fixture, DType dtype) {
  Pipeline sound = open_sound(fixture, dtype);
  std::vector<std::string> found;
  for (const parity::IsolatedTap& tap : parity::isolate(sound, reference(fixture, dtype)).taps) {
    if (tap.verdict == parity::IsolatedTap::Verdict::kSource)
      found.push_back(tap.run + " " + tap.path);
  }
  return found;
}

Outcome Matrix::run(const Mutant& mutant) {
  Outcome outcome;
  outcome.mutant = mutant;
  try {
    Model model = Model::open(test::fixture(mutant.fixture).string(), Registry(), DType::kFloat32);
    std::vector<PlantedFault> planted;
    for (const FaultKind* kind : mutant.kinds) {
      Plant plant(model.trace.graph, mutant.magnitude, mutant.seed);
      if (!kind->plant(plant)) return outcome;
      plant.edit.finish();
      // Ids of the faults before are no longer those of the graph.
      if (!planted.empty() && plant.edit.graph().nodes.size() != plant.edit.n_traced())
        return outcome;
      planted.push_back({kind, plant.edit.changed(), plant.edit.renamed()});
      outcome.note += (outcome.note.empty() ? "" : "; ") + plant.note;
    }
    outcome.applies = true;
    const parity::Recording& recording = reference(mutant.fixture, DType::kFloat32);
    PipelineOptions options;
    options.max_tokens = options.max_logit_rows = 64;
    options.max_context = 128;
    options.threads = 1;
    Pipeline pipeline(std::move(model), options);
    judge(planted, pipeline.graph(), parity::isolate(pipeline, recording), outcome);
  } catch (const Error& error) {
    outcome.applies = true;
    outcome.error = error.message();
  }
  return outcome;
}

std::vector<Mutant> all_mutants(const std::vector<std::string>& fixtures, int n_seeds) {
  static const std::vector<FaultKind> kinds = fault_kinds();
  std::vector<Mutant> mutants;
  for (const FaultKind& kind : kinds) {
    for (const std::string& fixture : fixtures) {
      for (int magnitude = 0; magnitude < 3; ++magnitude) {
        for (int seed = 0; seed < n_seeds; ++seed) {
          mutants.push_back({{&kind}, fixture, magnitude, static_cast<uint64_t>(seed)});
        }
      }
    }
  }
  return mutants;
}

std::vector<Mutant> a_tenth(const std::vector<Mutant>& mutants, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Mutant> chosen;
  for (const Mutant& mutant : mutants) {
    if (random() % 10 != 0) continue;
    chosen.push_back(mutant);
    chosen.back().seed += seed;
  }
  return chosen;
}

std::vector<Outcome> run_all(Matrix& matrix, const std::vector<Mutant>& mutants) {
  std::vector<Outcome> outcomes(mutants.size());
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t i = next++; i < mutants.size(); i = next++) outcomes[i] = matrix.run(mutants[i]);
  };
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < std::max(1U, std::thread::hardware_concurrency()); ++t) {
    threads.emplace_back(work);
  }
  threads.clear();
  return outcomes;
}

}  // namespace lockstep::mutants
