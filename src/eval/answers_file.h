// The file in which answers are kept: a line that says of what, then one an item, as they come.
#pragma once

#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "eval/run.h"

namespace lockstep::eval {

class AnswersFile {
 public:
  /// Reads what `path` has, if it is there, and opens it for more. A last line that was not
  /// finished is dropped. Throws kFailedPrecondition where it is of other questions or another
  /// model, kInvalidArgument for a file of something else.
  AnswersFile(std::filesystem::path path, const Task& task, const Scorer& scorer);

  /// By item; empty where there is none.
  std::vector<std::optional<Result>> take() { return std::move(kept_); }
  /// Written through at once.
  void add(size_t item, const std::string& id, const Result& result);

 private:
  void read_all(const Task& task, const Scorer& scorer);

  std::filesystem::path path_;
  std::vector<std::optional<Result>> kept_;
  size_t n_whole_bytes_ = 0;
  std::ofstream out_;
};

}  // namespace lockstep::eval
