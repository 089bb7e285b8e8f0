// Tasks: what a row of a benchmark's JSONL file asks. Facts of each format as EleutherAI's
// lm-evaluation-harness states them, so that scores can be set beside published ones.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "eval/item.h"

namespace lockstep::eval {

/// How rows become texts. A file may say it itself, in a first line {"format": {...}}.
struct Format {
  std::string description = {};            // before everything, once
  std::string question = {}, answer = {};  // {question}, {answer}, {subject}, {choices} in them
  std::string separator = "\n\n";          // behind each shot
  /// Whether a choice is weighed by its letter, A to Z, or by its text.
  bool by_letter = false;
  std::vector<std::string> stop = {};
  int64_t max_tokens = 256;
};

struct TaskOptions {
  /// Examples before each question; -1: as many as the task usually has.
  int64_t shots = -1;
  /// Where they come from. Empty: the first rows of the file itself, which are then not scored.
  std::filesystem::path shots_file;
  int64_t limit = 0;  // rows; 0: all
  uint64_t seed = 0;  // of the order of choices, where a file has the right one first
};

struct Task {
  std::string name;
  std::filesystem::path file;
  std::vector<Item> items = {};
  int64_t shots = 0;
  /// What a target is compared with: "exact_match", "acc", "acc_norm" or "mc2".
  std::string metric = {};
  double chance = 0;  // of `metric` for a guess; 0 for generations
  /// Of the file's bytes and of all that shapes the items: the same for the same questions.
  std::string fingerprint = {};
};

/// "arc", "gpqa", "gsm8k", "hellaswag", "mmlu", "truthfulqa", "winogrande".
std::vector<std::string> task_names();

/// Throws kNotFound for a name that is none, kInvalidArgument naming file, line and key, expected
/// and found, and for fewer rows than shots.
Task read_task(std::string_view name, const std::filesystem::path& file,
               const TaskOptions& options);

/// The number that a generation ends in, as GSM8K is judged: what stands behind "####", else the
/// last number; without commas, "$" and a final dot. Empty where there is none.
std::string final_number(std::string_view text);

}  // namespace lockstep::eval
