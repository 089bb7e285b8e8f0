// What a command's verdict says about the edit before it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/model_options.h"
#include "port/verdict_history.h"

namespace lockstep::cli {

struct FoundVerdict {
  std::string command, verdict;
  std::string first;  // path of the first guilty operator; empty: none
  std::string cause;  // where one was confirmed; may be empty
};

/// Keeps the verdict beside the port, or in the user's cache for a registered architecture, and
/// compares it with the one before. `order` lists the model's paths in order of execution. What
/// cannot be kept is said on stderr; then nothing is compared.
port::RunToRun run_to_run(const ModelOptions& options, const Model& model,
                          const std::string& recording, const FoundVerdict& found,
                          const std::vector<std::string>& order);

/// The graph's paths in order of execution, "logits" last.
std::vector<std::string> execution_order(const Graph& graph);

/// {"move","first_before","text"}.
nlohmann::json run_to_run_json(const port::RunToRun& run);

}  // namespace lockstep::cli
