// The test cases of a port: folders of tests/ in Hugging Face layout, each with a recording of what
// transformers computes (golden/).
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "port/port_folder.h"

namespace lockstep::port {

/// Makes a case of two layers with weights from a seed, by reference/make_case.py and `python` (as
/// find_python() takes it), of the model in `model_folder`. Returns why there is none, or nothing;
/// then `folder` is whole. Throws kCancelled.
std::string make_case(const std::filesystem::path& folder,
                      const std::filesystem::path& model_folder, const std::string& python);

struct CaseResult {
  enum class Verdict { kPass, kDiverged, kUndecided };
  std::string name, dtype;
  Verdict verdict = Verdict::kUndecided;
  size_t n_runs = 0, n_taps = 0;
  double logits_ratio = 0;     // of the logits' error to the floor, the largest of all runs
  std::string first_diverged;  // tap of the first run that diverged
  std::string message;         // undecided: why
  double seconds = 0;
};

/// The folders of tests/ with a config.json, by name.
std::vector<std::filesystem::path> list_cases(const PortFolder& port);
/// `program verify` of one case in one dtype, by the compiled port. Throws kCancelled.
CaseResult run_case(const std::string& program, const std::filesystem::path& folder,
                    const BuiltPort& built, const std::string& dtype);

}  // namespace lockstep::port
