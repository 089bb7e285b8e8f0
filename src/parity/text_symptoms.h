// What a wrong text looks like, when nothing but the text is there: symptoms with ranked
// candidates.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep::parity {

struct TextSymptom {
  std::string symptom;
  std::vector<std::string> candidates;  // likeliest first
};

/// A greedy text of the port against the reference's of the same prompt.
struct GreedyPair {
  std::vector<int64_t> prompt, reference, port;
};

/// Of one text: one token repeated, the prompt's last token echoed, a loop, an end too early, a
/// first token that is right before wrong ones. Empty where the texts agree as far as both go.
std::vector<TextSymptom> text_symptoms(const GreedyPair& text);

/// Of several: whether the text goes wrong the sooner, the longer its prompt is. Empty where not.
std::vector<TextSymptom> length_symptoms(const std::vector<GreedyPair>& texts);

}  // namespace lockstep::parity
