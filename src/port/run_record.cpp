#include "port/run_record.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <vector>

#include "port/port_folder.h"
#include "port/port_record.h"
#include "port/port_state.h"

namespace lockstep::port {
namespace fs = std::filesystem;
namespace {

constexpr size_t kKept = 40;
constexpr std::string_view kHead =
    "| time (UTC) | command | model | verdict | figures | content | changed since the run before "
    "|\n"
    "|---|---|---|---|---|---|---|";

// "model.h; new: rope.h; gone: old.h"
std::string changes(const std::map<std::string, std::string>& before,
                    const std::map<std::string, std::string>& now) {
  if (before.empty()) return "first run";
  std::vector<std::string> changed, added, gone;
  for (const auto& [name, hash] : now) {
    const auto at = before.find(name);
    if (at == before.end()) {
      added.push_back(name);
    } else if (at->second != hash) {
      changed.push_back(name);
    }
  }
  for (const auto& [name, hash] : before) {
    if (!now.contains(name)) gone.push_back(name);
  }
  std::string text = fmt::format("{}", fmt::join(changed, ", "));
  const auto append = [&](const char* what, const std::vector<std::string>& names) {
    if (names.empty()) return;
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", what, fmt::join(names, ", "));
  };
  append("new", added);
  append("gone", gone);
  return text.empty() ? "nothing" : text;
}

// The rows that are there already, the table's head left out.
std::vector<std::string> rows_of(const std::string& section) {
  std::vector<std::string> rows;
  for (size_t begin = 0; begin < section.size();) {
    const size_t end = std::min(section.find('\n', begin), section.size());
    const std::string line = section.substr(begin, end - begin);
    if (line.starts_with("| 2")) rows.push_back(line);
    begin = end + 1;
  }
  return rows;
}

}  // namespace

std::string record_time() {
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  return fmt::format("{:%Y-%m-%d %H:%M}", fmt::gmtime(now));
}

std::string table_cell(std::string text, size_t most) {
  if (text.size() > most) {
    // Not within a character.
    while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xc0) == 0x80) --most;
    text = text.substr(0, most) + "...";
  }
  std::string cell;
  for (const char c : text) {
    if (c == '|') cell += '\\';
    if (c == '\n') {
      while (cell.ends_with(' ')) cell.pop_back();
      cell += cell.empty() || cell.ends_with(';') || cell.ends_with(':') ? " " : "; ";
    } else if (static_cast<unsigned char>(c) >= 0x20 && !(c == ' ' && cell.ends_with(' '))) {
      cell += c;
    }
  }
  return cell;
}

void record_run(const fs::path& port_folder, const RunRow& row) {
  std::error_code ignored;
  if (!fs::is_regular_file(port_folder / "arch.cpp", ignored)) return;
  const PortFolder port = PortFolder::open(port_folder);
  PortState state = read_state(port.folder);
  std::map<std::string, std::string> files = file_hashes(port);
  std::vector<std::string> rows = rows_of(read_record(port.folder, "runs"));
  rows.push_back(
      fmt::format("| {} | {} | {} | {} | {} | `{}` | {} |", record_time(), table_cell(row.command),
                  table_cell(row.model, 80), table_cell(row.verdict), table_cell(row.figures),
                  port.content_hash().substr(0, 12), table_cell(changes(state.files, files))));
  if (rows.size() > kKept) rows.erase(rows.begin(), rows.end() - kKept);
  update_record(port.folder, "runs", fmt::format("{}\n{}\n", kHead, fmt::join(rows, "\n")));
  state.files = std::move(files);
  write_state(port.folder, state);
}

}  // namespace lockstep::port
