#include "port/delta_notes.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <regex>

#include "base/glob.h"
#include "base/text.h"
#include "port/source_text.h"

namespace lockstep::port {
namespace {

using Kind = DeltaNote::Kind;
using Status = DeltaState::Status;

// Six digits at most: no report has more, and none overflows.
const std::regex& todo_pattern() {
  static const std::regex pattern(R"(TODO\s?\(\s?[Dd]elta\s+(\d{1,6})\s?\)\s?:?)");
  return pattern;
}
const std::regex& done_pattern() {
  static const std::regex pattern(R"(^Delta\s+(\d{1,6})\s?(?:\(([^()]*)\))?\s?:\s*)");
  return pattern;
}
const std::regex& not_applicable_pattern() {
  static const std::regex pattern(
      R"(^Delta\s+(\d{1,6})\s?:\s*(?:N/A|n/a|not applicable)\s*(?:\(([^()]*)\))?\s?:?\s*)");
  return pattern;
}

void find_todos(std::string_view source, const std::string& file, std::vector<DeltaNote>& notes) {
  size_t number = 0;
  for (size_t begin = 0; begin < source.size();) {
    const size_t end = std::min(source.find('\n', begin), source.size());
    // A line of a generated table must not cost the matcher its stack.
    const std::string line(source.substr(begin, std::min<size_t>(end - begin, 1000)));
    begin = end + 1;
    ++number;
    if (line.find("TODO") == std::string::npos) continue;
    for (std::sregex_iterator at(line.begin(), line.end(), todo_pattern()), none; at != none;
         ++at) {
      notes.push_back({Kind::kTodo, std::stoi((*at)[1]), "", at->suffix().str(),
                       fmt::format("{}:{}", file, number)});
    }
  }
}

bool names_reference_line(const std::string& place) {
  static const std::regex pattern(R"(^[A-Za-z0-9_./-]{1,200}\.py:[1-9]\d{0,8}(-\d{1,9})?$)");
  return std::regex_match(place, pattern);
}

std::string config_key_of(const std::string& place) {
  constexpr std::string_view kFile = "config.json:";
  if (!place.starts_with(kFile)) return "";
  const size_t begin = place.find_first_not_of(' ', kFile.size());
  return begin == std::string::npos ? "" : place.substr(begin);
}

// Why `place` is no evidence for `delta`; empty if it is.
std::string fault_of_place(const std::string& place, const Delta* delta,
                           const DeltaEvidence& evidence) {
  const std::string wanted = delta != nullptr && !delta->where.empty()
                                 ? delta->where
                                 : "modeling_x.py:LINE, config.json: KEY, or a tensor's name";
  if (place.empty()) return fmt::format("no place: expected ({})", wanted);
  if (names_reference_line(place)) return "";
  const std::string found = quote_text(place);
  if (delta != nullptr && !delta->where.empty()) {
    return fmt::format("place {}: expected the reference's file and line, as {}", found, wanted);
  }
  if (place.starts_with("config.json")) {
    const std::string key = config_key_of(place);
    return evidence.config_keys.contains(key)
               ? ""
               : fmt::format("place {}: config.json has no such key", found);
  }
  const bool is_stored = std::ranges::any_of(
      evidence.tensors, [&](const TensorEntry& entry) { return glob_match(place, entry.name); });
  return is_stored ? "" : fmt::format("place {}: expected {}", found, wanted);
}

DeltaState judge(int number, const Delta* delta, const std::vector<const DeltaNote*>& notes,
                 const DeltaEvidence& evidence) {
  DeltaState state{number, Status::kOpen, delta == nullptr ? "" : delta->where, "", ""};
  const auto todo = std::ranges::find(notes, Kind::kTodo, &DeltaNote::kind);
  if (todo != notes.end()) {
    state.why = "TODO(delta " + std::to_string(number) + ")";
    state.at = (*todo)->at;
    return state;
  }
  for (const DeltaNote* note : notes) {
    state.at = note->at;
    state.why = fault_of_place(note->place, delta, evidence);
    if (state.why.empty() && note->text.size() < 3) state.why = "says nothing of what was done";
    if (!state.why.empty()) continue;
    state.status = note->kind == Kind::kDone ? Status::kDone : Status::kNotApplicable;
    state.place = note->place;
    state.why = note->text;
    return state;
  }
  if (!notes.empty()) return state;
  if (delta != nullptr && delta->kind == Delta::Kind::kCosmetic) {
    std::string unread;
    for (const std::string& key : delta->keys) {
      if (evidence.unread_keys.contains(key)) unread += (unread.empty() ? "" : ", ") + key;
    }
    if (unread.empty()) {
      state.status = Status::kConfigured;
      state.why = "read from config.json";
      return state;
    }
    state.why = "nobody reads " + unread;
    return state;
  }
  state.why = "no source mentions it";
  return state;
}

}  // namespace

std::vector<DeltaNote> find_delta_notes(std::string_view source, const std::string& file) {
  std::vector<DeltaNote> notes;
  find_todos(source, file, notes);
  for (const Prose& comment : read_source(source).comments) {
    // A heading's place and first words are all that is matched.
    const std::string head = comment.text.substr(0, 600);
    std::smatch match;
    Kind kind = Kind::kNotApplicable;
    if (!std::regex_search(head, match, not_applicable_pattern())) {
      kind = Kind::kDone;
      if (!std::regex_search(head, match, done_pattern())) continue;
    }
    notes.push_back({kind, std::stoi(match[1]), match[2], match.suffix().str(),
                     fmt::format("{}:{}", file, comment.line_at(0))});
  }
  return notes;
}

std::vector<DeltaState> judge_deltas(const DonorReport& report, const std::vector<DeltaNote>& notes,
                                     const DeltaEvidence& evidence) {
  std::map<int, const Delta*> deltas;
  std::map<int, std::vector<const DeltaNote*>> by_number;
  for (const Delta& delta : report.deltas) {
    deltas[delta.number] = &delta;
    by_number[delta.number];
  }
  for (const DeltaNote& note : notes) by_number[note.number].push_back(&note);
  std::vector<DeltaState> states;
  for (const auto& [number, its_notes] : by_number) {
    const auto delta = deltas.find(number);
    states.push_back(
        judge(number, delta == deltas.end() ? nullptr : delta->second, its_notes, evidence));
  }
  return states;
}

}  // namespace lockstep::port
