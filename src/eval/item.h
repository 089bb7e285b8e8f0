// One question of an evaluation, ready to be asked: texts to weigh, or a text to be continued.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lockstep::eval {

/// A text to weigh: how likely `continuation` is behind `context`.
struct Choice {
  std::string context, continuation;
  /// Code points of the choice as the row has it: what acc_norm divides by.
  double length = 0;
};

struct Item {
  std::string id;  // the row's own, else its line
  /// Of a choice. `right` are indices into it; one, but for TruthfulQA.
  std::vector<Choice> choices;
  std::vector<size_t> right;
  /// Of a generation, where choices is empty.
  std::string prompt, answer;
  std::vector<std::string> stop;
  int64_t max_tokens = 0;

  bool is_generation() const noexcept { return choices.empty(); }
};

}  // namespace lockstep::eval
