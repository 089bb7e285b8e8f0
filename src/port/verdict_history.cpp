#include "port/verdict_history.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <span>

#include "base/file.h"
#include "hub/content_hash.h"

namespace lockstep::port {
namespace fs = std::filesystem;
namespace {

constexpr int kVersion = 1;
constexpr size_t kKept = 100;
constexpr const char* kFile = "verdicts.json";
constexpr std::string KeptVerdict::*kMembers[] = {
    &KeptVerdict::command, &KeptVerdict::reference, &KeptVerdict::content, &KeptVerdict::verdict,
    &KeptVerdict::first,   &KeptVerdict::cause,     &KeptVerdict::time};
constexpr const char* kNames[] = {"command", "reference", "content", "verdict",
                                  "first",   "cause",     "time"};

std::string sha256(const std::string& text) {
  ContentHash hash(ContentHash::Kind::kSha256, text.size());
  hash.add(std::as_bytes(std::span(text)));
  return hash.finish();
}

std::vector<KeptVerdict> read_all(const fs::path& file) {
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) return {};
  const nlohmann::json document =
      nlohmann::json::parse(read_text_file(file), nullptr, /*allow_exceptions=*/false);
  if (!document.is_object() || document.value("version", nlohmann::json()) != kVersion) return {};
  std::vector<KeptVerdict> all;
  const auto list = document.find("verdicts");
  if (list == document.end() || !list->is_array()) return {};
  for (const nlohmann::json& entry : *list) {
    if (!entry.is_object()) continue;
    KeptVerdict& verdict = all.emplace_back();
    for (size_t i = 0; i < std::size(kNames); ++i) {
      const auto at = entry.find(kNames[i]);
      if (at != entry.end() && at->is_string()) verdict.*kMembers[i] = at->get<std::string>();
    }
  }
  return all;
}

void write_all(const fs::path& file, std::span<const KeptVerdict> all) {
  nlohmann::json list = nlohmann::json::array();
  for (const KeptVerdict& verdict : all) {
    nlohmann::json entry;
    for (size_t i = 0; i < std::size(kNames); ++i) entry[kNames[i]] = verdict.*kMembers[i];
    list.push_back(std::move(entry));
  }
  AtomicFile out(file);
  out.write(nlohmann::json{{"version", kVersion}, {"verdicts", std::move(list)}}.dump(1) + "\n");
  out.commit();
}

Move move_of(const std::string& before, const std::string& now,
             const std::vector<std::string>& order) {
  if (before == now) return Move::kStayed;
  const auto a = std::ranges::find(order, before), b = std::ranges::find(order, now);
  if (a == order.end() || b == order.end()) return Move::kUnordered;
  return a < b ? Move::kLater : Move::kEarlier;
}

std::string text_of(Move move, const KeptVerdict& before, const KeptVerdict& now) {
  switch (move) {
    case Move::kSameContent:
      return "nothing was edited since the last run";
    case Move::kFixed:
      return fmt::format("{} was the first guilty operator, now there is none", before.first);
    case Move::kLater:
      return fmt::format(
          "the first guilty operator moved later, from {} to {}: the edit helped, go on there",
          before.first, now.first);
    case Move::kStayed:
      return fmt::format(
          "the first guilty operator is still {}: the edit fixed something else, revert it",
          now.first);
    case Move::kEarlier:
      return fmt::format(
          "the first guilty operator moved earlier, from {} to {}: the edit broke it, revert it",
          before.first, now.first);
    case Move::kBroke:
      return fmt::format("there was no guilty operator, now it is {}: the edit broke it", now.first);
    case Move::kUnordered:
      return fmt::format(
          "the first guilty operator was {}, now it is {}; which comes first is not known",
          before.first, now.first);
    default:
      return {};
  }
}

}  // namespace

std::string_view move_name(Move move) noexcept {
  constexpr std::string_view kMoves[] = {"first run", "same content", "fixed", "later",    "stayed",
                                         "earlier",   "broke",        "unordered", "clean"};
  return kMoves[static_cast<int>(move)];
}

RunToRun compare_verdicts(const std::optional<KeptVerdict>& before, const KeptVerdict& now,
                          const std::vector<std::string>& order) {
  RunToRun out;
  out.before = before;
  if (!before) return out;
  // A run that decided nothing says nothing about an edit.
  const bool undecided = now.verdict == "undecided" || before->verdict == "undecided";
  if (before->content == now.content) {
    out.move = Move::kSameContent;
  } else if (undecided && (before->first.empty() || now.first.empty())) {
    out.move = Move::kUnordered;
    out.text = "one of the last two runs was undecided: nothing follows about the edit";
    return out;
  } else if (before->first.empty()) {
    out.move = now.first.empty() ? Move::kClean : Move::kBroke;
  } else {
    out.move = now.first.empty() ? Move::kFixed : move_of(before->first, now.first, order);
  }
  out.text = text_of(out.move, *before, now);
  return out;
}

RunToRun keep_verdict(const fs::path& folder, const KeptVerdict& now,
                      const std::vector<std::string>& order) {
  fs::create_directories(folder);
  std::vector<KeptVerdict> all = read_all(folder / kFile);
  std::optional<KeptVerdict> before;
  for (const KeptVerdict& kept : all) {
    if (kept.command != now.command || kept.reference != now.reference) continue;
    // What was found on this very content is no step, unless there is nothing else.
    if (kept.content != now.content || !before || before->content == now.content) before = kept;
  }
  RunToRun out = compare_verdicts(before, now, order);
  all.push_back(now);
  const size_t n_kept = std::min(kKept, all.size());
  write_all(folder / kFile, std::span(all).last(n_kept));
  return out;
}

std::optional<fs::path> model_history_folder(const fs::path& model) {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  fs::path root;
  if (cache != nullptr && *cache != '\0') {
    root = cache;
  } else if (home != nullptr && *home != '\0') {
    root = fs::path(home) / ".cache";
  } else {
    return std::nullopt;
  }
  std::error_code ignored;
  const fs::path whole = fs::weakly_canonical(model, ignored);
  return root / "lockstep" / "verdicts" / sha256(whole.string()).substr(0, 16);
}

std::string recording_hash(const fs::path& recording) {
  std::error_code ignored;
  for (const char* name : {"manifest.json", "expected.json", "golden/expected.json"}) {
    if (fs::is_regular_file(recording / name, ignored)) {
      return sha256(read_text_file(recording / name, size_t{1} << 30));
    }
  }
  std::vector<std::string> lines;
  if (fs::is_directory(recording, ignored)) {
    for (const fs::directory_entry& entry : fs::directory_iterator(recording, ignored)) {
      lines.push_back(fmt::format("{} {}", entry.path().filename().string(),
                                  entry.is_regular_file(ignored) ? entry.file_size(ignored) : 0));
    }
  } else {
    lines.push_back(fmt::format("{} {}", recording.filename().string(),
                                fs::file_size(recording, ignored)));
  }
  std::ranges::sort(lines);
  return sha256(fmt::format("{}", fmt::join(lines, "\n")));
}

std::string program_hash() {
  std::error_code ignored;
  const fs::path self = "/proc/self/exe";
  const fs::path program = fs::read_symlink(self, ignored);
  return sha256(fmt::format("{} {} {}", program.string(), fs::file_size(program, ignored),
                            fs::last_write_time(program, ignored).time_since_epoch().count()));
}

}  // namespace lockstep::port
