// What a report leaves open, as tasks for people: one Markdown file a question, each with its
// evidence computed, what is verified, what is still suspected, and the command that answers it.
#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "parity/debug/debug.h"

namespace lockstep::parity {

struct BriefOptions {
  std::string model;      // as the user named it
  std::string arguments;  // of the commands to run, after MODEL: "--reference REF", the port's folder
  /// The port's source of a fault against its donor's, as Markdown, and the command that shows it;
  /// either may be empty.
  struct SourceDifference {
    std::string markdown, command;
  };
  std::function<SourceDifference(const Fault&)> source_difference;
};

/// Throws kFailedPrecondition unless `folder` is absent, empty or a former brief.
void check_brief_folder(const std::filesystem::path& folder);

/// Writes `folder` whole or not at all. A former brief is replaced. Returns the number of
/// tasks. Throws as check_brief_folder(). The pipelines of the report must be open still.
size_t write_brief(const std::filesystem::path& folder, const Recording& reference,
                   const DebugReport& report, const BriefOptions& options);

}  // namespace lockstep::parity
