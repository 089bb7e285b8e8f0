// What every command that runs a model takes: MODEL, --dtype, --devices, --threads,
// --custom-architectures, and prompts as ids.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/pipeline.h"

namespace lockstep::cli {

struct ModelOptions {
  std::string model;
  std::string dtype;
  std::string devices = "cpu";
  int threads = 0;
  std::vector<std::string> custom_architectures;
  bool quiet = false;  // no notices: they were said already

  /// `name` is the model's: an option "--model,MODEL" may also be given by place.
  void add_to(CLI::App& command, const char* name = "MODEL");
  /// Loads ports, opens, traces, audits; says the notices on stderr, and where the gates have not
  /// passed on a port that is used.
  Model open() const;
  /// Ready to run: `sizes` with threads, devices and kernels as the user wants them.
  std::unique_ptr<Pipeline> start(Model opened, PipelineOptions sizes) const;
  /// Adds a row to PORT.md of each port among custom_architectures; one that cannot be written to
  /// is said on stderr. `verdict` may be empty.
  void record_run(const std::string& command, const std::string& verdict,
                  const std::string& figures) const;
  /// Devices named by --devices. Throws kInvalidArgument.
  int n_ranks() const;
};

/// "591,283,298" -> ids. Throws kInvalidArgument naming flag, place, expected and found.
std::vector<int32_t> parse_ids(const std::string& flag, const std::string& text);

}  // namespace lockstep::cli
