// Stages through the engine: its scheduler's batches and chunks, its prefix cache, its preemption.
#include <fmt/format.h>

#include <algorithm>

#include "parity/bisect/engine_probe.h"
#include "parity/bisect/stages.h"

namespace lockstep::parity {
namespace {

constexpr int64_t kPage = 16, kSmallPage = 4;
constexpr int64_t kLongText = 40;    // has two pages of 16 and something after them
constexpr int64_t kGenerated = 8;    // after a prompt that is the text's beginning
constexpr int64_t kPreemptable = 3;  // texts that do not fit together

StageResult stage_of(Stage stage) {
  StageResult result;
  result.stage = stage;
  result.outcome = StageResult::Outcome::kSame;
  return result;
}

int64_t longest_of(const std::vector<ReferenceText>& texts) {
  int64_t longest = 0;
  for (const ReferenceText& text : texts) longest = std::max(longest, text.n_tokens());
  return longest;
}

EngineOptions options_for(const DtypeCase& the_case) {
  EngineOptions options;
  options.max_batch_size = 8;
  options.max_batched_tokens = 256;
  options.max_length = longest_of(the_case.texts) + 1;
  options.cache_tokens = options.max_batch_size * (options.max_length + kPage);
  options.prefix_caching = false;
  return options;
}

// A beginning of the text that leaves something to generate, at least its prompt.
EngineRequest request_of(const ReferenceText& text, int64_t n_generated) {
  const int64_t n = std::max(text.n_prompt, text.n_tokens() - n_generated);
  const auto end = text.ids.begin() + static_cast<ptrdiff_t>(n);
  return {{text.ids.begin(), end}, std::max<int64_t>(1, text.n_tokens() - n)};
}

/// What a probe asks an engine, the answer it judges last.
using Ask = std::function<EngineAnswer(ProbeEngine&)>;

// Judges the answer to `ask`; where it differs, asks another engine that is watched.
void judge_probe(StageResult& result, DtypeCase& the_case, const Subject& subject, size_t text,
                 int64_t n_fed, const std::string& name, const EngineOptions& options,
                 const EngineAnswer& answer, const Ask& ask) {
  Probe probe{name, {}, {}};
  probe.find_evidence = [&](int64_t token) -> std::optional<StepEvidence> {
    const std::span<const int32_t> ids(the_case.texts[text].ids);
    std::unique_ptr<StepWatch> watch;
    ProbeEngine engine(subject, the_case.dtype, options, [&](Pipeline& pipeline) {
      if (pipeline.options().n_ranks > 1) return;
      watch = std::make_unique<StepWatch>(pipeline, ids, std::vector<int64_t>{1, token}, "*",
                                          StepWatch::Caches::kYes);
    });
    ask(engine);
    if (watch == nullptr) return std::nullopt;
    // Of the steps that the token was the last of, and so its logits chose: the newest that shows
    // anything. A text that was computed again, or asked for twice, has several.
    std::optional<StepEvidence> evidence;
    for (size_t s = watch->steps().size(); s-- > 0;) {
      const StepImage& step = watch->steps()[s];
      if (step.end != token + 1) continue;
      evidence = explain_step(ids, step, watch->before(&step), token, the_case.dtype,
                              at_once_of(the_case, ids));
      if (evidence->kind != StepEvidence::Kind::kUnknown) break;
    }
    return evidence;
  };
  if (the_case.has_experts && the_case.dtype != DType::kFloat32) {
    probe.is_rerouted = [](int64_t) { return true; };  // not told from a fault here
  }
  judge_answer(result, the_case, text, n_fed, answer, probe);
}

// Every text's prompt at once, beside a stranger; the answer to text `wanted`.
Ask all_at_once(const DtypeCase& the_case, size_t wanted, int64_t n_generated,
                std::vector<EngineAnswer>* all = nullptr) {
  return [&the_case, wanted, n_generated, all](ProbeEngine& engine) {
    std::vector<EngineRequest> requests;
    for (const ReferenceText& text : the_case.texts) {
      requests.push_back(request_of(text, n_generated));
    }
    const auto others = strangers(the_case.texts, 0, the_case.pipeline->vocab_size());
    EngineRequest stranger{others.back(), 4};
    stranger.prompt.resize(std::min(stranger.prompt.size(), static_cast<size_t>(9)));
    requests.push_back(std::move(stranger));
    std::vector<EngineAnswer> answers = engine.ask(requests);
    if (all != nullptr) *all = answers;
    return answers[wanted];
  };
}

void judge_all_at_once(StageResult& result, DtypeCase& the_case, const Subject& subject,
                       const std::string& name, const EngineOptions& options,
                       int64_t n_generated) {
  std::vector<EngineAnswer> answers;
  {
    ProbeEngine engine(subject, the_case.dtype, options);
    all_at_once(the_case, 0, n_generated, &answers)(engine);
  }
  for (size_t i = 0; i < the_case.texts.size(); ++i) {
    const auto n_fed =
        static_cast<int64_t>(request_of(the_case.texts[i], n_generated).prompt.size());
    judge_probe(result, the_case, subject, i, n_fed, name, options, answers[i],
                all_at_once(the_case, i, n_generated));
  }
}

// Twice the same text, then the text of another end, then the first again.
Ask ask_again(const DtypeCase& the_case, size_t text, int64_t page_size) {
  return [&the_case, text, page_size](ProbeEngine& engine) {
    const EngineRequest request = request_of(the_case.texts[text], kGenerated);
    engine.ask({request});
    EngineRequest other = request;
    other.prompt.resize(static_cast<size_t>(page_size) + 1);
    const auto vocab = static_cast<int32_t>(the_case.pipeline->vocab_size());
    for (int32_t i = 0; i < 2 * page_size; ++i) other.prompt.push_back((i * 37 + 11) % vocab);
    other.max_tokens = 2;
    engine.ask({other});
    return engine.ask({request}).front();
  };
}

}  // namespace

StageResult batched_stage(DtypeCase& the_case, const Subject& subject) {
  StageResult result = stage_of(Stage::kBatched);
  batched_feeds(result, the_case);
  if (result.outcome == StageResult::Outcome::kSame) {
    judge_all_at_once(result, the_case, subject, "engine, all prompts", options_for(the_case),
                      longest_of(the_case.texts));
  }
  return result;
}

StageResult chunked_stage(DtypeCase& the_case, const Subject& subject) {
  StageResult result = stage_of(Stage::kChunked);
  chunked_feeds(result, the_case);
  if (result.outcome != StageResult::Outcome::kSame) return result;
  EngineOptions options = options_for(the_case);
  options.max_batched_tokens = options.max_batch_size;
  options.max_prefill_chunk = 3;
  judge_all_at_once(result, the_case, subject, "engine, chunks of 3", options, kGenerated);
  return result;
}

StageResult prefix_cached_stage(DtypeCase& the_case, const Subject& subject) {
  StageResult result = stage_of(Stage::kPrefixCached);
  for (size_t i = 0; i < the_case.texts.size(); ++i) {
    const ReferenceText& text = the_case.texts[i];
    EngineOptions options = options_for(the_case);
    options.prefix_caching = true;
    options.page_size = text.n_tokens() >= kLongText ? kPage : kSmallPage;
    options.max_length = std::max(options.max_length, 4 * options.page_size + 8);
    options.cache_tokens = options.max_batch_size * (options.max_length + kPage);
    const Ask ask = ask_again(the_case, i, options.page_size);
    const auto n_fed = static_cast<int64_t>(request_of(text, kGenerated).prompt.size());
    if (n_fed <= options.page_size + 1) {
      result.not_covered.push_back(
          fmt::format("{} prompt {}: too short for a page", the_case.name, text.prompt));
      continue;
    }
    ProbeEngine engine(subject, the_case.dtype, options);
    const EngineAnswer answer = ask(engine);
    if (!answer.error && answer.n_cached == 0) {
      result.not_covered.push_back(fmt::format(
          "{} prompt {}: asked again, nothing of it was cached", the_case.name, text.prompt));
      continue;
    }
    judge_probe(result, the_case, subject, i, n_fed,
                fmt::format("asked again, {} of {} tokens cached", answer.n_cached, n_fed), options,
                answer, ask);
  }
  return result;
}

StageResult preempted_stage(DtypeCase& the_case, const Subject& subject) {
  StageResult result = stage_of(Stage::kPreempted);
  if (!the_case.pipeline->has_pages()) {
    result.not_covered.push_back(the_case.name + ": states alone, of which none runs out");
    return result;
  }
  for (size_t i = 0; i < the_case.texts.size(); ++i) {
    const ReferenceText& text = the_case.texts[i];
    EngineOptions options = options_for(the_case);
    options.page_size = kSmallPage;
    // One text fits, two do not: who came last gives way and is computed again.
    options.cache_tokens = options.max_length + options.page_size;
    const auto ask = [&](ProbeEngine& engine) {
      const EngineRequest request = request_of(text, text.n_tokens());
      return engine.ask(std::vector<EngineRequest>(kPreemptable, request)).back();
    };
    EngineAnswer answer;
    uint64_t n_preemptions = 0;
    {
      ProbeEngine engine(subject, the_case.dtype, options);
      answer = ask(engine);
      n_preemptions = engine.stats().n_preemptions;
    }
    if (!answer.error && n_preemptions == 0) {
      result.not_covered.push_back(
          fmt::format("{} prompt {}: nobody was preempted", the_case.name, text.prompt));
      continue;
    }
    judge_probe(result, the_case, subject, i, text.n_prompt,
                fmt::format("last of {}, {} preemptions", kPreemptable, n_preemptions), options,
                answer, ask);
  }
  return result;
}

}  // namespace lockstep::parity
