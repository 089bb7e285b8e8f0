// Engine or port: the stage that differs, run once more on a model that is known to be sound.
#include <fmt/format.h>

#include <algorithm>

#include "parity/bisect/cases.h"
#include "parity/bisect/stages.h"

namespace lockstep::parity {
namespace {

constexpr int kTexts = 3, kPromptTokens = 9, kTokens = 48;

// Ids in no order, the same ones in every run: what is fed at once is the truth for every stage.
std::vector<ReferenceText> made_up_texts(const std::string& dtype, int64_t vocab_size) {
  std::vector<ReferenceText> texts;
  uint32_t state = 2026;
  for (int i = 0; i < kTexts; ++i) {
    ReferenceText& text = texts.emplace_back();
    text.prompt = i;
    text.dtype = dtype;
    text.n_prompt = kPromptTokens + 7 * i;
    text.has_choices = false;
    for (int64_t t = 0; t < text.n_prompt + kTokens; ++t) {
      state = state * 1664525u + 1013904223u;
      text.ids.push_back(static_cast<int32_t>((state >> 8) % static_cast<uint32_t>(vocab_size)));
    }
  }
  return texts;
}

// The text that the control goes on with by itself: an engine generates it, so steps are fed it.
void generate(DtypeCase& the_case) {
  for (size_t i = 0; i < the_case.texts.size(); ++i) {
    ReferenceText& text = the_case.texts[i];
    Sequence sequence;
    View logits = the_case.pipeline->prefill(sequence, text.prompt_ids());
    for (auto t = static_cast<size_t>(text.n_prompt); t < text.ids.size(); ++t) {
      text.ids[t] = argmax(logits, 0);
      const Segment segment{&sequence, {&text.ids[t], 1}, LogitRows::kLast};
      logits = the_case.pipeline->step({&segment, 1});
    }
    the_case.pipeline->release(sequence);
    the_case.at_once[i] = run_feed(*the_case.pipeline, text.ids, feed_at_once(text.n_tokens()));
  }
}

std::vector<DtypeCase> control_cases(const Subject& control, int64_t vocab, bool with_low,
                                     ThreadPool& pool) {
  Floors floors({}, pool);
  std::vector<DtypeCase> cases;
  cases.push_back(open_case(control, DType::kFloat32, made_up_texts("float32", vocab)));
  generate(cases[0]);
  cases[0].noise = noise_of(floors, "float32");
  if (!with_low) return cases;
  cases.push_back(open_case(control, DType::kBFloat16, made_up_texts("bfloat16", vocab)));
  generate(cases[1]);
  cases[1].noise = noise_of(cases[1], cases[0]);
  return cases;
}

bool same_caches(const Graph& a, const Graph& b) {
  const auto has = [](const Graph& graph, LockstepCacheKind kind) {
    return std::ranges::any_of(graph.caches,
                               [&](const CacheInput& cache) { return cache.kind == kind; });
  };
  return has(a, LOCKSTEP_CACHE_PAGED) == has(b, LOCKSTEP_CACHE_PAGED) &&
         has(a, LOCKSTEP_CACHE_SLOT) == has(b, LOCKSTEP_CACHE_SLOT);
}

}  // namespace

std::string_view control_name(Control::Verdict verdict) noexcept {
  constexpr std::string_view kNames[] = {"engine", "port", "undecided"};
  return kNames[static_cast<int>(verdict)];
}

Control run_control(const Subject& subject, const Subject& control, const BisectReport& found,
                    ThreadPool& pool) {
  Control out;
  const StageResult* first = found.first();
  if (first == nullptr) {
    out.why = "no stage differs";
    return out;
  }
  if (first->stage <= Stage::kTeacherForced) {
    out.why = fmt::format("{}: it differs from this model's own reference, which says nothing of "
                          "another model",
                          stage_name(first->stage));
    return out;
  }
  if (first->findings.front().against == "the reference") {
    out.why = "the stage differs from this model's own reference, not from the text fed at once";
    return out;
  }
  const Model own = subject.open(DType::kFloat32), other = control.open(DType::kFloat32);
  const bool same_class =
      std::string(own.architecture->class_name) == other.architecture->class_name;
  if (!same_class && !same_caches(own.trace.graph, other.trace.graph)) {
    out.why = fmt::format("{} and {} have caches of other kinds", own.architecture->class_name,
                          other.architecture->class_name);
    return out;
  }
  StageResult all;
  all.stage = first->stage;
  const bool in_low = first->findings.front().dtype == "bfloat16";
  const Graph& graph = other.trace.graph;
  const int64_t vocab = graph.type(graph.outputs[0].value).shape[-1].count;
  for (DtypeCase& one : control_cases(control, vocab, in_low, pool)) {
    StageResult part = run_unreferenced(first->stage, one, control);
    all.probes += part.probes;
    all.outcome = std::max(all.outcome, part.outcome);
    std::ranges::move(part.findings, std::back_inserter(all.findings));
    std::ranges::move(part.not_covered, std::back_inserter(all.not_covered));
  }
  const char* likeness = same_class ? "of the same class" : "with caches of the same kinds";
  if (all.outcome == StageResult::Outcome::kDiffers) {
    out.verdict = Control::Verdict::kEngine;
    out.why = fmt::format("a registered model {} differs there as well", likeness);
  } else if (all.probes == 0) {
    out.why = fmt::format("the stage could not be run on the control: {}",
                          all.not_covered.empty() ? "nothing to compare" : all.not_covered[0]);
  } else if (!same_class) {
    out.why = fmt::format("a registered model {} ({}) does not differ there, but its operators are "
                          "others",
                          likeness, other.architecture->class_name);
  } else {
    out.verdict = Control::Verdict::kPort;
    out.why = fmt::format("a registered model {} does not differ there", likeness);
  }
  out.report.stages.push_back(std::move(all));
  return out;
}

}  // namespace lockstep::parity
