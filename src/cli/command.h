// A command is one file, src/cli/<name>.cpp, that defines `void add_<name>(CLI::App&, Action&)`
// and one line in src/cli/CMakeLists.txt.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace lockstep::cli {

/// What the chosen subcommand does once the arguments are parsed; returns the exit status
/// (0 it holds, 1 it does not, 2 undecided or wrong usage). It may throw lockstep::Error.
struct Action {
  std::function<int()> run;
  /// Set by --json: errors are then one JSON document on stdout, {"error": {...}}.
  bool json = false;
};

/// A subcommand with its example in --help.
CLI::App* add_command(CLI::App& app, const char* name, const char* description,
                      const char* example);

/// Prints `text` behind `label`, at most 100 columns a line, its further lines indented as the
/// first; control characters, which strangers' files may hold, as blanks.
void print_wrapped(const std::string& label, const std::string& text);

}  // namespace lockstep::cli
