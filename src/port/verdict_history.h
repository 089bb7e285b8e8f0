// Run to run: the verdicts that commands came to on one port or model, and what a new one says
// about the edit before it.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace lockstep::port {

/// What one run of a command found.
struct KeptVerdict {
  std::string command;    // "verify", "isolate", "explain", "debug"
  std::string reference;  // changes with the recording that it was compared with
  std::string content;    // changes with the port and the model
  std::string verdict;    // "pass", "diverged", "undecided"
  std::string first;      // path of the first guilty operator; empty: none
  std::string cause;      // its cause where one was confirmed; may be empty
  std::string time;       // as record_time()
};

enum class Move : uint8_t {
  kFirstRun,     // nothing was kept
  kSameContent,  // nothing was edited since
  kFixed,        // guilty before, none now
  kLater,
  kStayed,
  kEarlier,
  kBroke,      // none before, guilty now
  kUnordered,  // guilty elsewhere; which comes first cannot be said
  kClean,      // none before, none now
};
std::string_view move_name(Move move) noexcept;  // "later"

struct RunToRun {
  Move move = Move::kFirstRun;
  std::optional<KeptVerdict> before;  // of the last other content
  std::string text;                   // one line for people; empty where there is nothing to say
};

/// What `now` says after `before`. `order` lists the paths of the model in order of execution.
RunToRun compare_verdicts(const std::optional<KeptVerdict>& before, const KeptVerdict& now,
                          const std::vector<std::string>& order);

/// Compares `now` with the newest kept verdict of the same command and reference, of another
/// content if there is one, and keeps it in `folder`/verdicts.json, which holds the newest hundred.
/// What cannot be read there counts as nothing. Throws as AtomicFile.
RunToRun keep_verdict(const std::filesystem::path& folder, const KeptVerdict& now,
                      const std::vector<std::string>& order);

/// Where verdicts on a model without a port's folder are kept: <user's cache>/lockstep/verdicts/KEY,
/// KEY made from the model's folder. Nothing where the user has no cache.
std::optional<std::filesystem::path> model_history_folder(const std::filesystem::path& model);

/// Of the recording's manifest, or of the names and sizes of its files.
std::string recording_hash(const std::filesystem::path& recording);
/// Of this program: what a registered architecture changes with.
std::string program_hash();

}  // namespace lockstep::port
