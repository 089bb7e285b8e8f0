#include "parity/text_symptoms.h"

#include <fmt/format.h>

#include <algorithm>

namespace lockstep::parity {
namespace {

using Ids = std::vector<int64_t>;

constexpr size_t kLongestPeriod = 12;
constexpr size_t kRepeats = 5;  // of one token; of a loop three

size_t first_difference(const GreedyPair& text) {
  size_t at = 0;
  while (at < text.reference.size() && at < text.port.size() &&
         text.reference[at] == text.port[at]) {
    ++at;
  }
  return at;
}

bool agree(const GreedyPair& text) {
  return first_difference(text) == std::min(text.reference.size(), text.port.size()) &&
         text.port.size() >= text.reference.size();
}

/// How many of the last tokens repeat with this period.
size_t repeated_tail(const Ids& ids, size_t period) {
  size_t n = 0;
  while (n + period < ids.size() && ids[ids.size() - 1 - n] == ids[ids.size() - 1 - n - period]) {
    ++n;
  }
  return n;
}

size_t longest_run(const Ids& ids, int64_t id) {
  size_t longest = 0, run = 0;
  for (const int64_t one : ids) {
    run = one == id ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  return longest;
}

}  // namespace

std::vector<TextSymptom> text_symptoms(const GreedyPair& text) {
  std::vector<TextSymptom> out;
  if (text.port.empty() || agree(text)) return out;
  const size_t at = first_difference(text);
  const Ids& port = text.port;
  const size_t same = repeated_tail(port, 1) + 1;
  const bool loops_too = longest_run(text.reference, port.back()) >= kRepeats;
  if (same >= kRepeats && !loops_too) {
    out.push_back({fmt::format("one token, {}, {} times at the end", port.back(), same),
                   {"positions that do not advance while decoding",
                    "a cache row overwritten, or a cache that is never written",
                    "rotary tables in the wrong packing, so that queries are 0 or swapped",
                    "rows of the vocabulary's padding that win: truncate the logits"}});
  } else {
    for (size_t period = 2; period <= kLongestPeriod; ++period) {
      const size_t tail = repeated_tail(port, period);
      if (tail < 2 * period || repeated_tail(text.reference, period) >= 2 * period) continue;
      out.push_back(
          {fmt::format("a loop of {} tokens, after {}", period, port.size() - tail - period),
           {"positions or cache rows of decode steps",
            "a recurrent state that is wrong after the prompt, or kept in low precision",
            "a window or a mask that hides the newest tokens"}});
      break;
    }
  }
  if (at == 0 && !text.prompt.empty() && port.front() == text.prompt.back()) {
    out.push_back(
        {fmt::format("the prompt's last token, {}, comes again", port.front()),
         {"the embedding reaches the head as it is: layers that add nothing (weights of "
          "0 or not loaded)",
          "a tied head where the model has its own", "logits gathered one row too early"}});
  }
  if (at > 0 && at == port.size() && port.size() < text.reference.size()) {
    out.push_back({fmt::format("it ends after {} tokens, the reference goes on", port.size()),
                   {"another set of end tokens, or a stop string",
                    "the positions of decode steps (several axes)"}});
  } else if (at == 1) {
    out.push_back({"the first token is right, the second is not",
                   {"what prefill does not show: the decode step's positions, cache or kernel"}});
  } else if (at == 0 && out.empty()) {
    out.push_back({"the first token is wrong already",
                   {"the prompt's ids, or any operator: compare recordings of a prefill"}});
  }
  return out;
}

std::vector<TextSymptom> length_symptoms(const std::vector<GreedyPair>& texts) {
  size_t longest_right = 0, shortest_wrong = SIZE_MAX;
  for (const GreedyPair& text : texts) {
    const size_t n = text.prompt.size() + std::min(text.port.size(), text.reference.size());
    if (agree(text)) {
      longest_right = std::max(longest_right, n);
    } else {
      shortest_wrong = std::min(shortest_wrong, text.prompt.size() + first_difference(text));
    }
  }
  if (longest_right == 0 || shortest_wrong == SIZE_MAX || shortest_wrong < longest_right) return {};
  return {{fmt::format("right up to {} tokens, wrong from {} on", longest_right, shortest_wrong),
           {"a window or a chunk of attention that is missing, or one off",
            "the scaling of rotary frequencies (by parts, YaRN, longrope)",
            "angles in low precision, which grow with the position", "a cache that is too short"}}};
}

}  // namespace lockstep::parity
