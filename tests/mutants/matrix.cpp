#include "matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <thread>

#include "lockstep/error.h"
#include "parity/dump.h"
#include "runtime/pipeline.h"

namespace lockstep::mutants {
namespace {

// Longer than the windows of the fixtures (24), so that these bite.
constexpr size_t kPromptTokens = 40;
constexpr size_t kDecodeSteps = 2;
constexpr uint64_t kPromptSeed = 20;
// Of a value in float32, between two sound implementations: the bar of `lockstep diff`.
constexpr double kFloor = 5e-6;
constexpr uint32_t kPlainIds = 900;  // below: in every fixture's vocabulary

PipelineOptions options() {
  PipelineOptions options;
  options.max_tokens = options.max_logit_rows = 64;
  options.max_context = 128;
  options.threads = 1;
  return options;
}

Pipeline open_sound(const std::string& fixture, DType dtype) {
  return Pipeline(Model::open(test::fixture(fixture).string(), Registry(), dtype), options());
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
    const auto [first, last] = values_.equal_range(name);
    return std::any_of(first, last,
                       [&](const auto& entry) { return is_made_by(changed, entry.second); });
  }

 private:
  bool is_made_by(const std::set<uint32_t>& changed, ValueId value) const {
    std::set<uint32_t> seen;
    std::vector<uint32_t> open = {value.node};
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

  void add_writers(ValueId input, uint32_t end, std::vector<uint32_t>& open) const {
    for (uint32_t n = 0; n < end; ++n) {
      const Node& node = graph_.nodes[n];
      for (size_t i = 0; node.kind == NodeKind::kOp && i < node.inputs.size(); ++i) {
        if (node.inputs[i] == input && (node.op->mutated_inputs >> i & 1) != 0) open.push_back(n);
      }
    }
  }

  const Graph& graph_;
  std::multimap<std::string, ValueId> values_;  // a module may be called twice
  std::set<ValueId> known_;
};

struct Suspect {
  const FaultKind* kind;
  PlantedFault planted;

  bool explains(const Guilt& guilt, const std::string& source) const {
    return planted.renamed.contains(source) || guilt.is_behind(planted.changed, source);
  }
};

void judge_operators(const std::vector<Suspect>& planted, const Guilt& guilt,
                     const parity::IsolateReport& report, Outcome& outcome) {
  for (const parity::IsolatedTap& tap : report.taps) {
    outcome.moved =
        std::max(outcome.moved, std::isnan(tap.accumulated) ? INFINITY : tap.accumulated);
    if (tap.verdict != parity::IsolatedTap::Verdict::kSource) continue;
    if (std::ranges::find(outcome.sources, tap.path) != outcome.sources.end()) continue;
    outcome.sources.push_back(tap.path);
  }
  outcome.is_under_floor = outcome.moved <= kFloor;
  for (const std::string& source : outcome.sources) {
    const bool is_known = std::ranges::any_of(
        planted, [&](const Suspect& fault) { return fault.explains(guilt, source); });
    if (!is_known) outcome.innocent.push_back(source);
  }
  for (const Suspect& fault : planted) {
    const bool is_found = std::ranges::any_of(
        outcome.sources, [&](const std::string& source) { return fault.explains(guilt, source); });
    if (!is_found) outcome.missed.emplace_back(fault.kind->id);
  }
}

Named name_of(const parity::Fault& fault) {
  Named named;
  named.path = fault.path;
  named.paths = fault.paths;
  const parity::SiteJudgement& judgement = fault.judgement;
  if (!judgement.ranked.empty()) named.what = judgement.ranked.front().finding.what;
  if (judgement.verdict == parity::CauseVerdict::kUndecided) return named;
  for (const parity::Candidate& candidate : judgement.ranked) {
    const bool is_first_class =
        candidate.fits && candidate.finding.n_fitted <= judgement.ranked.front().finding.n_fitted;
    if (!is_first_class) continue;
    named.causes.emplace_back(candidate.cause->id);
    named.rows.push_back(candidate.cause->row);
  }
  return named;
}

bool is_rightly_named(const FaultKind& kind, const Named& named) {
  return std::ranges::any_of(named.rows, [&](int row) {
    return (" " + std::string(kind.rows) + " ").find(fmt::format(" {} ", row)) != std::string::npos;
  });
}

void judge_causes(const std::vector<Suspect>& planted, const Guilt& guilt, Outcome& outcome) {
  const auto explains = [&](const Suspect& fault, const Named& named) {
    return std::ranges::any_of(
        named.paths, [&](const std::string& path) { return fault.explains(guilt, path); });
  };
  for (const Named& named : outcome.named) {
    const bool is_right = std::ranges::any_of(planted, [&](const Suspect& fault) {
      return explains(fault, named) && is_rightly_named(*fault.kind, named);
    });
    if (!named.causes.empty() && !is_right) outcome.misnamed.push_back(named.path);
  }
  for (const Suspect& fault : planted) {
    if (fault.kind->rows.empty()) continue;
    const auto first = std::ranges::find_if(
        outcome.named, [&](const Named& named) { return explains(fault, named); });
    const bool is_right = first != outcome.named.end() && is_rightly_named(*fault.kind, *first);
    if (!is_right) outcome.unnamed.emplace_back(fault.kind->id);
  }
}

}  // namespace

const std::vector<FaultKind>& kinds() {
  static const std::vector<FaultKind> all = fault_kinds();
  return all;
}

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

std::optional<Matrix::Faulty> Matrix::plant(const Mutant& mutant) const {
  Faulty faulty{
      Model::open(test::fixture(mutant.fixture).string(), Registry(), DType::kFloat32), {}, {}};
  Plant plant(faulty.model.trace.graph, mutant.magnitude, mutant.seed);
  for (const FaultKind* kind : mutant.kinds) {
    if (kind != mutant.kinds.front()) plant.edit.begin_fault();
    if (!kind->plant(plant)) return std::nullopt;
    faulty.note += (faulty.note.empty() ? "" : "; ") + plant.note;
  }
  if (plant.edit.has_conflict()) return std::nullopt;
  plant.edit.finish();
  faulty.faults = plant.edit.faults();
  return faulty;
}

Outcome Matrix::run(const Mutant& mutant) {
  Outcome outcome;
  outcome.mutant = mutant;
  try {
    std::optional<Faulty> faulty = plant(mutant);
    if (!faulty) return outcome;
    outcome.applies = true;
    outcome.note = faulty->note;
    std::vector<Suspect> planted;
    for (size_t i = 0; i < mutant.kinds.size(); ++i) {
      planted.push_back({mutant.kinds[i], std::move(faulty->faults[i])});
    }
    const parity::Recording& recording = reference(mutant.fixture, DType::kFloat32);
    Pipeline pipeline(std::move(faulty->model), options());
    const Guilt guilt(pipeline.graph());
    judge_operators(planted, guilt, parity::isolate(pipeline, recording), outcome);
    for (const parity::Fault& fault : parity::explain({&pipeline}, recording).faults) {
      outcome.named.push_back(name_of(fault));
    }
    judge_causes(planted, guilt, outcome);
  } catch (const Error& error) {
    outcome.applies = true;
    outcome.error = error.message();
  }
  return outcome;
}

std::vector<Mutant> all_mutants(const std::vector<std::string>& fixtures, int n_seeds) {
  std::vector<Mutant> mutants;
  for (const FaultKind& kind : kinds()) {
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

std::vector<Mutant> triples(const Matrix& matrix, const std::vector<std::string>& fixtures,
                            size_t n, uint64_t seed) {
  const auto named = [](std::initializer_list<std::string_view> ids) {
    std::vector<const FaultKind*> found;
    for (const std::string_view id : ids) {
      const auto at = std::ranges::find(kinds(), id, &FaultKind::id);
      if (at != kinds().end()) found.push_back(&*at);
    }
    return found;
  };
  const std::vector<const FaultKind*> rotations = named(
      {"rope_style", "rope_theta", "rope_sign", "rope_width", "rope_exponent_width",
       "rope_linear_scaling", "rope_attention_factor", "rope_layers_missing", "rope_some_heads"});
  const std::vector<const FaultKind*> norms =
      named({"norm_eps", "norm_unit_offset", "norm_mean_kept", "norm_centred",
             "norm_weights_swapped", "norm_weight_of_layer", "norm_bias", "qk_norm_missing"});
  const std::vector<const FaultKind*> others = named(
      {"router_scoring", "router_normalise", "router_scaling", "router_bias", "router_groups",
       "router_permuted", "head_tied", "head_bias", "head_rows", "logit_scale", "final_soft_cap"});
  std::mt19937_64 random(seed);
  const auto one_of = [&](const auto& choices) { return choices[random() % choices.size()]; };
  std::vector<Mutant> chosen;
  for (size_t i = 0; i < 200 * n && chosen.size() < n; ++i) {
    Mutant mutant{{one_of(rotations), one_of(norms), one_of(others)},
                  one_of(fixtures),
                  static_cast<int>(random() % 3),
                  random() % 1000};
    if (matrix.applies(mutant)) chosen.push_back(std::move(mutant));
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
