#include "parity/bisect/cases.h"

#include <algorithm>
#include <set>

#include "parity/bisect/rows.h"
#include "parity/bisect/stages.h"

namespace lockstep::parity {
namespace {

const Run* prefill_of(const Recording& reference, const GreedyInfo& greedy) {
  for (const Run& run : reference.runs) {
    if (run.info.phase == Phase::kPrefill && run.info.prompt == greedy.prompt &&
        run.info.dtype == greedy.dtype) {
      return &run;
    }
  }
  return nullptr;
}

bool has_experts(const Graph& graph) {
  return std::ranges::any_of(graph.taps,
                             [](const FunctionalTap& tap) { return tap.name == "topk_ids"; });
}

}  // namespace

std::vector<std::string> dtypes_of(const Recording& reference) {
  std::vector<std::string> dtypes;
  for (const char* name : {"float32", "bfloat16"}) {
    const bool has = std::ranges::any_of(
        reference.greedy, [&](const GreedyInfo& g) { return g.dtype == name; });
    if (has) dtypes.emplace_back(name);
  }
  return dtypes;
}

std::vector<ReferenceText> texts_of(const Recording& reference, const std::string& dtype,
                                    const BisectOptions& options) {
  std::vector<ReferenceText> texts;
  std::set<int> seen;
  for (const GreedyInfo& greedy : reference.greedy) {
    const Run* prompt = prefill_of(reference, greedy);
    if (greedy.dtype != dtype || prompt == nullptr || prompt->info.prompt_ids.size() < 2 ||
        greedy.tokens.size() < kFewestTokens) {
      continue;
    }
    if (options.prompt && *options.prompt != greedy.prompt) continue;
    if (!seen.insert(greedy.prompt).second) continue;
    ReferenceText& text = texts.emplace_back();
    text.prompt = greedy.prompt;
    text.dtype = dtype;
    text.ids.assign(prompt->info.prompt_ids.begin(), prompt->info.prompt_ids.end());
    text.n_prompt = static_cast<int64_t>(text.ids.size());
    const size_t n = options.steps > 0
                         ? std::min(greedy.tokens.size(), static_cast<size_t>(options.steps))
                         : greedy.tokens.size();
    text.ids.insert(text.ids.end(), greedy.tokens.begin(),
                    greedy.tokens.begin() + static_cast<ptrdiff_t>(n));
    text.margins = greedy.margins;
    for (const PromptText& known : reference.prompts) {
      if (known.prompt != greedy.prompt) continue;
      text.prompt_text = known.text;
      text.is_chat = known.is_chat;
    }
  }
  return texts;
}

Noise noise_of(Floors& floors, const std::string& dtype) {
  Noise noise;
  const auto floor = floors.floor(dtype, Phase::kPrefill, "logits", true);
  if (!floor) return noise;
  noise.from_reference = true;
  noise.total = floor->total;
  noise.row_bar = floor->token * kTokenBand * Bands().diverged;
  return noise;
}

Noise noise_of(const DtypeCase& low, const DtypeCase& precise) {
  Noise noise;
  const double rounding = one_rounding(low.name);
  double worst = 0;
  for (size_t i = 0; i < low.texts.size(); ++i) {
    const auto& text = low.texts[i];
    const auto same = std::ranges::find(precise.texts, text.prompt, &ReferenceText::prompt);
    if (same == precise.texts.end()) continue;
    const TextLogits& truth = precise.at_once[static_cast<size_t>(same - precise.texts.begin())];
    for (size_t t = 0; t < static_cast<size_t>(text.n_prompt) && t < truth.size(); ++t) {
      worst = std::max(worst, row_difference(truth[t], low.at_once[i][t]));
    }
  }
  noise.total = worst + rounding;
  noise.row_bar = (worst + rounding) * kTokenBand * Bands().diverged;
  return noise;
}

DtypeCase open_case(const Subject& subject, DType dtype, std::vector<ReferenceText> texts) {
  DtypeCase the_case;
  the_case.dtype = dtype;
  the_case.name = std::string(dtype_name(dtype));
  the_case.texts = std::move(texts);
  the_case.pipeline = subject.start(subject.open(dtype), pipeline_for(the_case.texts));
  the_case.has_experts = has_experts(the_case.pipeline->graph());
  for (const ReferenceText& text : the_case.texts) {
    the_case.at_once.push_back(
        run_feed(*the_case.pipeline, text.ids, feed_at_once(text.n_tokens())));
  }
  return the_case;
}

StageResult run_unreferenced(Stage stage, DtypeCase& the_case, const Subject& subject) {
  switch (stage) {
    case Stage::kIncremental:
      return incremental_stage(the_case);
    case Stage::kBatched:
      return batched_stage(the_case, subject);
    case Stage::kChunked:
      return chunked_stage(the_case, subject);
    case Stage::kPrefixCached:
      return prefix_cached_stage(the_case, subject);
    case Stage::kPreempted:
      return preempted_stage(the_case, subject);
    default:
      break;
  }
  if (!subject.serve) {
    StageResult skipped;
    skipped.stage = stage;
    skipped.not_covered.emplace_back("there is no server to start");
    return skipped;
  }
  const std::unique_ptr<RunningServer> server = subject.serve(the_case.dtype);
  return served_stage(the_case, subject.folder, server->target(), Server::kOwn);
}

}  // namespace lockstep::parity
