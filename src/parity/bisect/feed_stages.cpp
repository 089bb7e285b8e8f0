// Stages on the pipeline alone: at once, token by token, with others, in chunks.
#include <fmt/format.h>

#include <algorithm>

#include "parity/bisect/feed.h"
#include "parity/bisect/stages.h"
#include "parity/bisect/rows.h"

namespace lockstep::parity {
namespace {

constexpr size_t kNumStrangers = 4;

StepImage image_at_once(DtypeCase& the_case, std::span<const int32_t> ids, int64_t end,
                        const std::vector<int64_t>& rows, const std::string& pattern) {
  StepWatch watch(*the_case.pipeline, ids, rows, pattern, StepWatch::Caches::kYes);
  run_feed(*the_case.pipeline, ids.first(static_cast<size_t>(end)), feed_at_once(end),
           [&](const FeedStep&, size_t segment) { watch.expect(segment, 0); });
  watch.stop();
  return watch.steps().empty() ? StepImage{} : watch.steps().back();
}

// `feed` up to and with the step that computes `token`.
Feed cut_behind(const Feed& feed, int64_t token) {
  Feed cut = feed;
  const auto last = std::ranges::find_if(
      cut.steps, [&](const FeedStep& step) { return token < step.end; });
  if (last != cut.steps.end()) cut.steps.erase(last + 1, cut.steps.end());
  return cut;
}

// Whether a step of one token is wrong, or what many tokens leave behind for it: fed one by one
// from the beginning, a text meets the first alone.
void weigh_single_steps(DtypeCase& the_case, std::span<const int32_t> ids, int64_t token,
                        StepEvidence& evidence) {
  const auto n = static_cast<size_t>(token) + 1;
  Pipeline& pipeline = *the_case.pipeline;
  const TextLogits truth =
      run_feed(pipeline, ids.first(n), feed_at_once(static_cast<int64_t>(n)));
  const TextLogits found =
      run_feed(pipeline, ids.first(n), feed_in_chunks(static_cast<int64_t>(n), 1));
  const bool agrees = !rows_differ(truth.back(), found.back(), the_case.noise.row_bar);
  if (agrees) {
    if (pipeline.has_states() && !pipeline.has_pages()) evidence.kind = StepEvidence::Kind::kState;
    evidence.lines.emplace_back(
        "fed one by one from the beginning the text is right: what several tokens at once leave "
        "behind is wrong");
    evidence.look_at = "what a prefill writes into caches and states for the steps after it";
  } else {
    evidence.lines.emplace_back(
        "fed one by one from the beginning the text is wrong as well: it is the step of one token");
  }
}

std::optional<StepEvidence> evidence_of(DtypeCase& the_case, std::span<const int32_t> ids,
                                        const Feed& feed, int64_t token) {
  if (the_case.pipeline->options().n_ranks > 1) return std::nullopt;
  StepWatch watch(*the_case.pipeline, ids, {1, token}, "*", StepWatch::Caches::kYes);
  run_feed(*the_case.pipeline, ids, cut_behind(feed, token),
           [&](const FeedStep& step, size_t segment) { watch.expect(segment, step.begin); });
  watch.stop();
  const StepImage* step = watch.step_of(token);
  if (step == nullptr) return std::nullopt;
  StepEvidence evidence = explain_step(ids, *step, watch.before(step), token, the_case.dtype,
                                       at_once_of(the_case, ids));
  const bool is_step = step->end - step->begin == 1 && feed.steps.front().end > 1;
  const bool is_open = evidence.kind == StepEvidence::Kind::kCompute ||
                       evidence.kind == StepEvidence::Kind::kState;
  if (is_step && is_open) weigh_single_steps(the_case, ids, token, evidence);
  return evidence;
}

// Experts that the tokens up to `token` went to, in both feeds.
bool is_rerouted(DtypeCase& the_case, std::span<const int32_t> ids, const Feed& feed,
                 int64_t token) {
  if (the_case.pipeline->options().n_ranks > 1) return true;
  const StepImage truth = image_at_once(the_case, ids, token + 1, {}, "*/topk_ids");
  StepWatch watch(*the_case.pipeline, ids, {}, "*/topk_ids", StepWatch::Caches::kNo);
  run_feed(*the_case.pipeline, ids, cut_behind(feed, token),
           [&](const FeedStep& step, size_t segment) { watch.expect(segment, step.begin); });
  watch.stop();
  for (const StepImage& step : watch.steps()) {
    for (const TapRows& tap : step.taps) {
      const TapRows* expected = truth.tap(tap.path);
      for (const auto& [position, row] : tap.rows) {
        if (expected == nullptr || !expected->rows.contains(position)) continue;
        std::vector<float> a = expected->rows.at(position), b = row;
        std::ranges::sort(a);
        std::ranges::sort(b);
        if (a != b) return true;
      }
    }
  }
  return false;
}

Probe probe_of(DtypeCase& the_case, size_t text, const Feed& feed) {
  const std::span<const int32_t> ids(the_case.texts[text].ids);
  Probe probe{feed.name, [&the_case, ids, feed](int64_t token) {
                return evidence_of(the_case, ids, feed, token);
              },
              {}};
  if (the_case.has_experts && the_case.dtype != DType::kFloat32) {
    probe.is_rerouted = [&the_case, ids, feed](int64_t token) {
      return is_rerouted(the_case, ids, feed, token);
    };
  }
  return probe;
}

TextLogits run(DtypeCase& the_case, size_t text, const Feed& feed) {
  return run_feed(*the_case.pipeline, the_case.texts[text].ids, feed);
}

StageResult stage_of(Stage stage) {
  StageResult result;
  result.stage = stage;
  result.outcome = StageResult::Outcome::kSame;
  return result;
}

}  // namespace

AtOnce at_once_of(DtypeCase& the_case, std::span<const int32_t> ids) {
  return [&the_case, ids](int64_t end, const std::vector<int64_t>& rows,
                          const std::string& pattern) {
    return image_at_once(the_case, ids, end, rows, pattern);
  };
}

std::vector<std::vector<int32_t>> strangers(const std::vector<ReferenceText>& texts, size_t text,
                                            int64_t vocab_size) {
  std::vector<std::vector<int32_t>> others;
  for (size_t i = 1; i < texts.size() && others.size() < 2; ++i) {
    others.push_back(texts[(text + i) % texts.size()].ids);
  }
  // Ids in no order, the same ones in every run.
  uint32_t state = 12345;
  while (others.size() < kNumStrangers) {
    std::vector<int32_t>& ids = others.emplace_back();
    for (int i = 0; i < 40; ++i) {
      state = state * 1664525u + 1013904223u;
      ids.push_back(static_cast<int32_t>((state >> 8) % static_cast<uint32_t>(vocab_size)));
    }
  }
  return others;
}

PipelineOptions pipeline_for(const std::vector<ReferenceText>& texts) {
  int64_t longest = 0;
  for (const ReferenceText& text : texts) longest = std::max(longest, text.n_tokens());
  PipelineOptions options;
  options.max_tokens = longest + 64;  // and what others bring into a step
  options.max_logit_rows = longest;
  options.max_sequences = 1 + static_cast<int64_t>(kNumStrangers);
  options.max_context = options.max_sequences * (longest + 64);
  return options;
}

StageResult teacher_forced_stage(DtypeCase& the_case, const Recording& reference, Floors& floors) {
  StageResult result = stage_of(Stage::kTeacherForced);
  // What decides experts in low precision is no matter of feeding: diff weighs it.
  if (the_case.has_experts && the_case.dtype != DType::kFloat32) {
    result.not_covered.push_back(the_case.name +
                                 " against the reference: experts, whose ties lockstep diff weighs");
    return result;
  }
  if (!the_case.noise.from_reference) {
    result.not_covered.push_back(the_case.name +
                                 " logits against the reference: no floor was recorded");
  }
  for (size_t i = 0; i < the_case.texts.size(); ++i) {
    const TextLogits& rows = the_case.at_once[i];
    const Probe probe{"at once", {}, {}};
    ++result.probes;
    const bool same = !the_case.noise.from_reference ||
                      judge_reference(result, the_case, i, rows, reference, floors, probe);
    if (same) judge_choices(result, the_case, i, rows, probe);
  }
  return result;
}

StageResult incremental_stage(DtypeCase& the_case) {
  StageResult result = stage_of(Stage::kIncremental);
  for (size_t i = 0; i < the_case.texts.size(); ++i) {
    const ReferenceText& text = the_case.texts[i];
    const Feed feed = feed_by_token(text.n_prompt, text.n_tokens());
    judge_rows(result, the_case, i, run(the_case, i, feed), probe_of(the_case, i, feed));
  }
  return result;
}

void judge_steps(StageResult& result, DtypeCase& the_case, const Recording& reference,
                 Floors& floors) {
  if (the_case.has_experts && the_case.dtype != DType::kFloat32) return;
  for (size_t i = 0; i < the_case.texts.size(); ++i) {
    const ReferenceText& text = the_case.texts[i];
    const Feed feed = feed_by_token(text.n_prompt, text.n_tokens());
    const Probe probe = probe_of(the_case, i, feed);
    const TextLogits rows = run(the_case, i, feed);
    if (!judge_choices(result, the_case, i, rows, probe) || !the_case.noise.from_reference) {
      continue;
    }
    judge_reference(result, the_case, i, rows, reference, floors, probe);
  }
}

void batched_feeds(StageResult& result, DtypeCase& the_case) {
  for (size_t i = 0; i < the_case.texts.size(); ++i) {
    const ReferenceText& text = the_case.texts[i];
    const Feed feed =
        feed_with_others(text.n_prompt, text.n_tokens(),
                         strangers(the_case.texts, i, the_case.pipeline->vocab_size()));
    judge_rows(result, the_case, i, run(the_case, i, feed), probe_of(the_case, i, feed));
  }
}

void chunked_feeds(StageResult& result, DtypeCase& the_case) {
  for (size_t i = 0; i < the_case.texts.size(); ++i) {
    for (const int64_t chunk : {3, 7, 16}) {
      if (chunk >= the_case.texts[i].n_tokens()) continue;
      const Feed feed = feed_in_chunks(the_case.texts[i].n_tokens(), chunk);
      const bool same =
          judge_rows(result, the_case, i, run(the_case, i, feed), probe_of(the_case, i, feed));
      if (!same) break;
    }
  }
}

}  // namespace lockstep::parity
