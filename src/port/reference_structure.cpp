#include "port/reference_structure.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "base/child_process.h"
#include "base/python.h"
#include "lockstep/error.h"
#include "port/topics.h"

namespace lockstep::port {
namespace {

using nlohmann::json;
using Difference = ReferenceStructure::Difference;

constexpr const char* kScript = "reference/structure.py";
// What a delta says of each side, at most.
constexpr size_t kMostText = 600;

[[noreturn]] void refuse(const std::string& key, const std::string& expected, const json& found) {
  throw Error(
      ErrorCode::kInvalidArgument,
      fmt::format("{}: {}: expected {}, found {}", kScript, key, expected, found.type_name()),
      "it may be of another version than this program");
}

const json& member(const json& object, const char* key, json::value_t kind, const char* expected) {
  if (!object.is_object()) refuse(key, "an object around it", object);
  const auto at = object.find(key);
  if (at == object.end()) refuse(key, expected, json());
  if (at->type() != kind) refuse(key, expected, *at);
  return *at;
}

std::string text_of(const json& object, const char* key) {
  return member(object, key, json::value_t::string, "a string");
}

std::vector<std::string> texts_of(const json& object, const char* key) {
  std::vector<std::string> texts;
  for (const json& text : member(object, key, json::value_t::array, "a list")) {
    if (!text.is_string()) refuse(key, "strings", text);
    texts.push_back(text);
  }
  return texts;
}

ReferenceStructure::Donor donor_of(const json& object) {
  ReferenceStructure::Donor donor;
  donor.was_compared = !object.contains("failed");
  donor.not_compared = texts_of(object, "not_compared");
  for (const json& entry : member(object, "differences", json::value_t::array, "a list")) {
    donor.differences.push_back({.part = text_of(entry, "part"),
                                 .where = text_of(entry, "where"),
                                 .reference = text_of(entry, "reference"),
                                 .donor = text_of(entry, "donor"),
                                 .change = text_of(entry, "change"),
                                 .names = texts_of(entry, "names"),
                                 .tensors = texts_of(entry, "tensors")});
  }
  return donor;
}

bool contains(const std::vector<std::string>& list, const std::string& text) {
  return std::ranges::find(list, text) != list.end();
}

bool share(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  return std::ranges::any_of(a, [&](const std::string& text) { return contains(b, text); });
}

std::vector<std::string> modules_of(const std::vector<std::string>& tensors) {
  std::vector<std::string> modules;
  for (const std::string& name : tensors) modules.push_back(name.substr(0, name.rfind('.')));
  return modules;
}

// Whether a delta and a difference are the same thing seen from the headers and from the source.
bool are_same(const Delta& delta, const Difference& difference) {
  if (share(delta.tensors, difference.tensors)) return true;
  if (share(delta.keys, difference.names)) return true;
  if (delta.part != difference.part || delta.kind == Delta::Kind::kCosmetic) return false;
  // Experts are stored one by one where the reference has them stacked.
  return difference.part == "positions" || difference.part == "experts" ||
         share(modules_of(delta.tensors), modules_of(difference.tensors));
}

void append(std::string& text, const std::string& more) {
  if (more.empty() || text.find(more) != std::string::npos) return;
  text += (text.empty() ? "" : "; ") + more;
  if (text.size() > kMostText) text = text.substr(0, kMostText - 3) + "...";
}

// What was read off the donor's graph alone: neither key nor tensor stands for it.
bool is_guess(const Delta& delta) {
  return delta.keys.empty() && delta.tensors.empty() && delta.part != "config";
}

std::string top_of(const std::string& key) { return key.substr(0, key.find('.')); }

void judge_keys(Delta& delta, const ReferenceStructure& structure) {
  if (delta.keys.empty()) return;
  const auto is_unread = [&](const std::string& key) {
    return structure.unread_keys.contains(top_of(key));
  };
  if (delta.tensors.empty() && std::ranges::all_of(delta.keys, is_unread)) {
    delta.kind = Delta::Kind::kCosmetic;
    append(delta.reference, fmt::format("no line of {} reads it", structure.library));
    delta.change = "nothing: the reference ignores it";
  }
  for (const std::string& key : delta.keys) {
    const auto place = structure.key_places.find(top_of(key));
    if (delta.where.empty() && place != structure.key_places.end()) delta.where = place->second;
  }
}

void join(DonorReport& report, const Difference& difference) {
  bool is_known = false;
  for (Delta& delta : report.deltas) {
    if (!are_same(delta, difference)) continue;
    if (delta.where.empty()) delta.where = difference.where;
    // Code that differs is more than a number that does.
    if (delta.kind == Delta::Kind::kCosmetic) continue;
    is_known = true;
    append(delta.reference, difference.reference);
    append(delta.donor, difference.donor);
  }
  if (is_known) return;
  report.deltas.push_back({.number = 0,
                           .kind = Delta::Kind::kStructural,
                           .part = difference.part,
                           .reference = difference.reference,
                           .donor = difference.donor,
                           .change = difference.change,
                           .where = difference.where,
                           .keys = {},
                           .tensors = difference.tensors});
}

}  // namespace

ReferenceStructure ReferenceStructure::parse(std::string_view text) {
  const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  ReferenceStructure structure;
  structure.library = "transformers " + text_of(document, "transformers");
  structure.file = text_of(document, "file");
  structure.not_compared = texts_of(document, "not_compared");
  const json& keys = member(document, "keys", json::value_t::object, "an object");
  for (const auto& [key, place] : keys.items()) {
    if (!place.is_string()) refuse("keys." + key, "a string", place);
    structure.key_places[key] = place;
  }
  for (std::string& key : texts_of(document, "unread")) structure.unread_keys.insert(key);
  const json& donors = member(document, "donors", json::value_t::object, "an object");
  for (const auto& [name, donor] : donors.items()) structure.donors[name] = donor_of(donor);
  return structure;
}

ReferenceStructure ReferenceStructure::compare(
    const ModelFacts& facts, const std::vector<std::string>& donor_classes,
    const std::string& python, const std::function<void(const std::string&)>& progress) {
  std::vector<std::string> command = {find_python(python), find_shared_file(kScript).string(),
                                      facts.folder.string(), "--class-name=" + facts.class_name};
  for (const std::string& name : donor_classes) command.push_back("--donor=" + name);
  std::string answer, last;
  const auto on_line = [&](std::string_view line) {
    const json event = json::parse(line, nullptr, /*allow_exceptions=*/false);
    const std::string kind = event.is_object() ? event.value("event", "") : "";
    if (kind == "done") answer = line;
    if (kind == "progress") progress(event.value("message", ""));
    if (kind == "error") last = event.value("message", "");
    if (kind.empty() && !line.empty()) last = line;
  };
  progress("importing torch and transformers");
  const ChildResult result = run_child(command, ChildOutput::kLines, on_line);
  if (result.cancelled) throw Error(ErrorCode::kCancelled, "interrupted, nothing was written");
  if (!result.ok() || answer.empty()) {
    throw Error(ErrorCode::kUnavailable,
                fmt::format("{} ended with status {}: {}", kScript, result.status, last));
  }
  return parse(answer);
}

void add_reference(DonorReport& report, const ReferenceStructure& structure) {
  if (structure.file.empty()) return;
  const auto donor = structure.donors.find(report.class_name);
  report.sources_compared = donor != structure.donors.end() && donor->second.was_compared;
  if (report.sources_compared) {
    std::erase_if(report.deltas, is_guess);
    for (const Difference& difference : donor->second.differences) join(report, difference);
  }
  if (donor != structure.donors.end()) report.not_compared = donor->second.not_compared;
  for (Delta& delta : report.deltas) judge_keys(delta, structure);
  number_deltas(report.deltas);
}

void rank_again(std::vector<DonorReport>& reports) {
  std::ranges::stable_sort(reports, {}, [](const DonorReport& report) {
    if (!report.sources_compared) return std::tuple(true, size_t{0}, size_t{0});
    const size_t n = report.n_structural();
    return std::tuple(false, n, report.deltas.size() - n);
  });
}

}  // namespace lockstep::port
