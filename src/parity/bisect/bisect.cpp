#include "parity/bisect/bisect.h"

#include <fmt/format.h>

#include <algorithm>

#include "lockstep/error.h"
#include "parity/bisect/cases.h"
#include "parity/bisect/stages.h"
#include "parity/floor.h"

namespace lockstep::parity {
namespace {

constexpr std::string_view kStageNames[kNumStages] = {
    "tokenizer", "teacher-forced", "incremental", "batched",
    "chunked",   "prefix-cached",  "preempted",   "served"};

// One stage of all dtypes.
void merge(StageResult& into, StageResult part) {
  into.stage = part.stage;
  into.outcome = std::max(into.outcome, part.outcome);
  into.probes += part.probes;
  into.tokens += part.tokens;
  into.ties += part.ties;
  into.worst = std::max(into.worst, part.worst);
  std::ranges::move(part.findings, std::back_inserter(into.findings));
  std::ranges::move(part.not_covered, std::back_inserter(into.not_covered));
}

class Bisection {
 public:
  Bisection(const Subject& subject, const Recording& reference, const BisectOptions& options,
            ThreadPool& pool)
      : subject_(subject),
        reference_(reference),
        options_(options),
        floors_(all_runs(reference), pool) {}

  BisectReport run() {
    if (!open_cases()) return std::move(report_);
    for (int i = 0; i < kNumStages; ++i) {
      const auto stage = static_cast<Stage>(i);
      if (!wanted(stage)) continue;
      if (report_.first() != nullptr) {
        report_.not_covered.push_back(
            fmt::format("{}: {} differs before it", stage_name(stage),
                        stage_name(report_.first()->stage)));
        continue;
      }
      report_.stages.push_back(run_stage(stage));
    }
    conclude();
    return std::move(report_);
  }

 private:
  static std::vector<ReferenceRun> all_runs(const Recording& reference) {
    std::vector<ReferenceRun> runs;
    for (const Run& run : reference.runs) runs.push_back({&run, true});
    return runs;
  }

  bool wanted(Stage stage) const {
    if (options_.only) return stage == *options_.only;
    const bool in_process = stage > Stage::kTeacherForced && stage < Stage::kServed;
    return stage >= options_.from && (!options_.server || !in_process);
  }

  bool open_cases() {
    const std::vector<std::string> recorded = dtypes_of(reference_);
    for (const std::string& name : recorded) {
      const DType dtype = *dtype_from_name(name);
      if (options_.dtype && *options_.dtype != dtype) continue;
      std::vector<ReferenceText> texts = texts_of(reference_, name, options_);
      if (texts.empty()) continue;
      // What feeding does shows best where nothing is rounded: float32 goes along, unjudged
      // against a reference that has none.
      const bool lacks_float32 = cases_.empty() && dtype != DType::kFloat32 && !options_.dtype;
      if (lacks_float32) {
        std::vector<ReferenceText> forced = texts;
        for (ReferenceText& text : forced) text.has_choices = false;
        add_case(DType::kFloat32, std::move(forced));
      }
      add_case(dtype, std::move(texts));
    }
    if (!cases_.empty()) return true;
    report_.not_covered.push_back(fmt::format(
        "{}: expected a prompt of two tokens or more with greedy text of {} or more{}, found none",
        reference_.path.string(), kFewestTokens,
        options_.dtype ? " in " + std::string(dtype_name(*options_.dtype)) : ""));
    return false;
  }

  void add_case(DType dtype, std::vector<ReferenceText> texts) {
    cases_.push_back(open_case(subject_, dtype, std::move(texts)));
    DtypeCase& added = cases_.back();
    added.noise = noise_of(floors_, added.name);
    if (!added.noise.from_reference && cases_.front().dtype == DType::kFloat32) {
      added.noise = noise_of(added, cases_.front());
    }
    if (added.noise.row_bar == 0) {
      report_.not_covered.push_back(
          added.name + ": no floor was recorded, and --dtype leaves float32 out");
      cases_.pop_back();
    }
  }

  StageResult run_stage(Stage stage) {
    if (stage == Stage::kTokenizer) return tokenizer_stage(subject_, reference_);
    StageResult all;
    all.stage = stage;
    for (DtypeCase& one : cases_) {
      merge(all, run_stage(stage, one));
      // The dtype without noise says it best.
      if (all.outcome == StageResult::Outcome::kDiffers) break;
    }
    return all;
  }

  StageResult run_stage(Stage stage, DtypeCase& one) {
    if (stage == Stage::kTeacherForced) return teacher_forced_stage(one, reference_, floors_);
    if (stage == Stage::kIncremental) {
      StageResult result = incremental_stage(one);
      if (result.outcome == StageResult::Outcome::kSame) {
        judge_steps(result, one, reference_, floors_);
      }
      return result;
    }
    if (stage != Stage::kServed || !options_.server) return run_unreferenced(stage, one, subject_);
    // Its dtype is not known: the widest noise is what may be held against it.
    StageResult skipped;
    skipped.stage = stage;
    if (&one != &cases_.back()) return skipped;
    return served_stage(one, subject_.folder, *options_.server, Server::kForeign);
  }

  void conclude() {
    for (const StageResult& stage : report_.stages) {
      for (const std::string& what : stage.not_covered) {
        report_.not_covered.push_back(fmt::format("{}: {}", stage_name(stage.stage), what));
      }
    }
    if (report_.first() != nullptr) {
      report_.outcome = Outcome::kDiverged;
      return;
    }
    const auto ran = [&](Stage stage) {
      return std::ranges::any_of(report_.stages, [&](const StageResult& result) {
        return result.stage == stage && result.outcome == StageResult::Outcome::kSame &&
               result.probes > 0;
      });
    };
    const bool decided = options_.only     ? ran(*options_.only)
                         : options_.server ? ran(Stage::kServed)
                                           : (options_.from > Stage::kTeacherForced ||
                                              ran(Stage::kTeacherForced)) &&
                                                 ran(Stage::kIncremental);
    if (decided) report_.outcome = Outcome::kPass;
  }

  const Subject& subject_;
  const Recording& reference_;
  const BisectOptions& options_;
  Floors floors_;
  std::vector<DtypeCase> cases_;
  BisectReport report_;
};

}  // namespace

std::string_view stage_name(Stage stage) noexcept { return kStageNames[static_cast<int>(stage)]; }

std::string_view stage_adds(Stage stage) noexcept {
  constexpr std::string_view kAdds[kNumStages] = {
      "text to ids: special tokens, normalisation, the chat template",
      "the graph itself, on one sequence in one call: lockstep isolate and explain go on here",
      "steps of one token on a cache: positions, what is cached, states, kernels of a single row",
      "others in the same step: row offsets, page tables, slots, kernels of many rows",
      "prompts in parts: where a chunk begins, states and caches between chunks",
      "pages and states that another request computed: which ones, and how many tokens they hold",
      "giving up the caches and computing again: tokens so far, positions, pages taken back",
      "HTTP, text in and out: special tokens, templates, stop strings, echo"};
  return kAdds[static_cast<int>(stage)];
}

Stage parse_stage(const std::string& flag, const std::string& name) {
  const auto at = std::ranges::find(kStageNames, name);
  if (at == std::end(kStageNames)) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: expected one of {}, found {}", flag,
                            fmt::join(kStageNames, ", "), name));
  }
  return static_cast<Stage>(at - std::begin(kStageNames));
}

std::string_view stage_outcome_name(StageResult::Outcome outcome) noexcept {
  constexpr std::string_view kNames[] = {"not run", "same", "DIFFERS"};
  return kNames[static_cast<int>(outcome)];
}

const StageResult* BisectReport::first() const noexcept {
  const auto at = std::ranges::find(stages, StageResult::Outcome::kDiffers, &StageResult::outcome);
  return at == stages.end() ? nullptr : &*at;
}

BisectReport bisect(const Subject& subject, const Recording& reference,
                    const BisectOptions& options, ThreadPool& pool) {
  return Bisection(subject, reference, options, pool).run();
}

}  // namespace lockstep::parity
