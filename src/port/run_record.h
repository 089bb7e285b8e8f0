// Runs of a port as PORT.md keeps them: when, what, the verdict, figures, and what changed before.
#pragma once

#include <filesystem>
#include <string>

namespace lockstep::port {

struct RunRow {
  std::string command;  // "verify", "generate", "dump", ...
  std::string model;    // as the user named it
  std::string verdict;  // "pass", "diverged", ...; empty where the command gives none
  std::string figures;  // one line
};

/// Appends a row to PORT.md's section `runs`, which keeps the newest 40. The port's content stands
/// in it, and which files differ from the run before: what a new verdict may be due to. Nothing for
/// a folder without arch.cpp.
void record_run(const std::filesystem::path& port_folder, const RunRow& row);

/// "2026-11-22 17:03" in UTC.
std::string record_time();
/// A cell of a Markdown table: one line, at most `most` bytes, bars escaped.
std::string table_cell(std::string text, size_t most = 300);

}  // namespace lockstep::port
