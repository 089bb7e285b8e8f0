#include "parity/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

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

// As for the choices of single positions (diff.cpp): two logits with the reference's own noise
// each, four deviations apart.
double noise_of(const DiffReport& report, const std::string& dtype) {
  double most = 0;
  for (const RunDiff& run : report.runs) {
    if (run.dtype != dtype || !run.logits || !run.logits->floor) continue;
    const TapMetrics& m = run.logits->metrics;
    const double rms = std::sqrt(m.sums.rr / static_cast<double>(m.elements()));
    most = std::max(most, 4 * std::sqrt(2.0) * run.logits->floor->total * rms);
  }
  return most;
}

GreedyCheck follow(Pipeline& pipeline, const Run& prompt, const GreedyInfo& greedy,
                   const DiffReport& report) {
  GreedyCheck check;
  check.dtype = greedy.dtype;
  check.prompt = greedy.prompt;
  check.total = static_cast<int>(greedy.tokens.size());
  check.noise = noise_of(report, greedy.dtype);
  const std::vector<int32_t> ids(prompt.info.prompt_ids.begin(), prompt.info.prompt_ids.end());
  Sequence sequence;
  View logits = pipeline.prefill(sequence, ids);
  for (size_t i = 0; i < greedy.tokens.size(); ++i) {
    const int32_t token = argmax(logits, 0);
    ++check.tokens;
    if (token != greedy.tokens[i]) {
      check.expected = greedy.tokens[i];
      check.found = token;
      check.margin = i < greedy.margins.size() ? greedy.margins[i] : 0;
      const bool tie = i < greedy.margins.size() && check.margin <= check.noise;
      check.outcome = tie ? GreedyCheck::Outcome::kTie : GreedyCheck::Outcome::kDiffers;
      break;
    }
    if (i + 1 == greedy.tokens.size()) break;
    const Segment segment{&sequence, {&token, 1}, LogitRows::kLast};
    logits = pipeline.step({&segment, 1});
  }
  pipeline.release(sequence);
  return check;
}

}  // namespace

std::vector<GreedyCheck> check_greedy(const std::vector<Pipeline*>& pipelines,
                                      const Recording& reference, const DiffReport& report) {
  std::vector<GreedyCheck> checks;
  for (const GreedyInfo& greedy : reference.greedy) {
    const Run* prompt = prefill_of(reference, greedy);
    if (prompt == nullptr || greedy.tokens.empty()) continue;
    for (Pipeline* pipeline : pipelines) {
      if (dtype_name(pipeline->graph().activation_dtype) != greedy.dtype) continue;
      checks.push_back(follow(*pipeline, *prompt, greedy, report));
    }
  }
  return checks;
}

std::vector<GreedyInfo> own_greedy(const std::vector<Pipeline*>& pipelines,
                                   const Recording& reference,
                                   const std::vector<PlannedSequence>& sequences) {
  std::vector<GreedyInfo> texts;
  for (const PlannedSequence& sequence : sequences) {
    const RunInfo& info = sequence.runs.front().info;
    size_t n_tokens = 0;
    for (const GreedyInfo& greedy : reference.greedy) {
      const Run* prompt = prefill_of(reference, greedy);
      if (prompt != nullptr && greedy.dtype == info.dtype &&
          prompt->info.prompt_ids == info.prompt_ids) {
        n_tokens = std::max(n_tokens, greedy.tokens.size());
      }
    }
    for (Pipeline* pipeline : pipelines) {
      if (pipeline->graph().activation_dtype != sequence.dtype || n_tokens == 0) continue;
      GreedyInfo text{info.dtype, info.attention, info.prompt, {}, {}};
      Sequence own;
      View logits = pipeline->prefill(own, sequence.runs.front().tokens);
      while (text.tokens.size() < n_tokens) {
        const Winner chosen = winner(logits, 0);
        text.tokens.push_back(chosen.id);
        text.margins.push_back(chosen.margin);
        const auto token = static_cast<int32_t>(chosen.id);
        const Segment segment{&own, {&token, 1}, LogitRows::kLast};
        if (text.tokens.size() < n_tokens) logits = pipeline->step({&segment, 1});
      }
      pipeline->release(own);
      texts.push_back(std::move(text));
    }
  }
  return texts;
}

std::string greedy_text(const std::vector<GreedyCheck>& checks) {
  std::string text;
  for (const GreedyCheck& check : checks) {
    text += fmt::format("greedy {} prompt {}: ", check.dtype, check.prompt);
    if (check.outcome == GreedyCheck::Outcome::kSame) {
      text += fmt::format("all {} tokens are the reference's\n", check.total);
      continue;
    }
    text += fmt::format(
        "{} of {} tokens, then {} for {}; the reference's margin there {:.3g}, noise "
        "{:.3g}: {}\n",
        check.tokens - 1, check.total, check.found, check.expected, check.margin, check.noise,
        check.outcome == GreedyCheck::Outcome::kTie ? "a tie" : "a difference");
  }
  return text;
}

}  // namespace lockstep::parity
