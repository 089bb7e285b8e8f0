#include "port/port_vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <nlohmann/json.hpp>
#include <regex>

#include "base/file.h"
#include "lockstep/error.h"
#include "port/delta_notes.h"
#include "port/sdk.h"
#include "port/source_text.h"

namespace lockstep::port {
namespace fs = std::filesystem;
namespace {

void collect_keys(const nlohmann::json& value, Words& words) {
  if (value.is_array()) {
    for (const auto& child : value) collect_keys(child, words);
  }
  if (value.is_string()) words.insert(value.get<std::string>());
  if (!value.is_object()) return;
  for (const auto& [key, child] : value.items()) {
    words.insert(key);
    collect_keys(child, words);
  }
}

void note_includes(const std::string& code, std::vector<std::string>& included) {
  static const std::regex pattern(
      R"(#\s*include\s*["<](?:lockstep/archs/|\.\./)(?:\w+/)?(\w+)\.h[">])");
  for (std::sregex_iterator at(code.begin(), code.end(), pattern), none; at != none; ++at) {
    const std::string slug = (*at)[1];
    if (std::ranges::find(included, slug) == included.end()) included.push_back(slug);
  }
}

fs::path sdk_or_nothing() {
  try {
    return find_sdk();
  } catch (const Error&) {
    return {};
  }
}

// The names of the model and its donor.
std::vector<std::string> names_at_hand(std::vector<std::string> own, const DonorReport* donor) {
  if (donor != nullptr) own.push_back(donor->slug);
  return own;
}

}  // namespace

bool is_word_char(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

void collect_words(std::string_view text, Words& words) {
  for (size_t begin = 0; begin < text.size();) {
    if (!is_word_char(text[begin])) {
      ++begin;
      continue;
    }
    size_t end = begin;
    while (end < text.size() && is_word_char(text[end])) ++end;
    words.emplace(text.substr(begin, end - begin));
    begin = end;
  }
}

PortVocabulary::PortVocabulary(const AuditSubject& subject, const GraphFacts& graph)
    : names(Registry(), {}), subject_(subject), sdk_(sdk_or_nothing()) {
  names = FamilyNames(Registry(), names_at_hand(own_names(), subject.donor));
  for (const std::string& name : own_names()) own_.push_back(normalised_name(name));
  learn_code();
  learn_words(graph);
  learn_sdk();
}

// How the model calls itself.
std::vector<std::string> PortVocabulary::own_names() const {
  const ConfigFile& config = subject_.config;
  std::vector<std::string> own = {subject_.port.slug,
                                  family_of_class(subject_.trace.graph.architecture)};
  for (const char* key : {"model_type", "text_config.model_type"}) {
    if (config.kind(key) == ConfigFile::Kind::kString) own.push_back(config.get_string(key));
  }
  return own;
}
// The port's code, and what it takes from registered architectures.
void PortVocabulary::learn_code() {
  std::vector<std::string> included;
  for (const fs::path& source : subject_.port.sources) {
    const SourceText text = read_source(read_text_file(source));
    collect_words(text.code, code);
    note_includes(text.code, included);
    learn_notes(source.lexically_relative(subject_.port.folder).string(), read_text_file(source));
  }
  for (size_t i = 0; i < included.size(); ++i) {
    lineage_[normalised_name(included[i])] = fmt::format("lockstep/archs/{}.h", included[i]);
    const fs::path header = sdk_ / "lockstep" / "archs" / (included[i] + ".h");
    if (sdk_.empty() || !fs::is_regular_file(header)) continue;
    const SourceText text = read_source(read_text_file(header));
    collect_words(text.code, inherited);
    note_includes(text.code, included);
  }
  if (subject_.donor != nullptr) {
    lineage_.emplace(normalised_name(subject_.donor->slug), "deltas.json");
    lineage_.emplace(normalised_name(family_of_class(subject_.donor->class_name)), "deltas.json");
  }
}

void PortVocabulary::learn_notes(const std::string& file, const std::string& source) {
  for (const DeltaNote& note : find_delta_notes(source, file)) {
    has_todo = has_todo || note.kind == DeltaNote::Kind::kTodo;
    if (note.kind != DeltaNote::Kind::kDone) continue;
    done.insert(note.number);
    done_in[file] = note.number;
  }
}

// Everything a comment may speak of besides the code.
void PortVocabulary::learn_words(const GraphFacts& graph) {
  structure.insert(graph.names.begin(), graph.names.end());
  known = structure;
  known.insert(graph.classes.begin(), graph.classes.end());
  for (const auto& [op, n] : graph.ops) known.insert(op);
  for (const Parameter& parameter : subject_.trace.graph.parameters) {
    collect_words(parameter.path, known);
    collect_words(parameter.stored, known);
    for (const StoredPart& part : parameter.parts) collect_words(part.stored, structure);
    collect_words(parameter.stored, structure);
  }
  for (const Audit::Dropped& drop : subject_.trace.audit.dropped) {
    collect_words(drop.stored, structure);
  }
  for (const std::string& name : subject_.trace.audit.surplus) collect_words(name, structure);
  collect_keys(nlohmann::json::parse(subject_.config.text(), nullptr, false), known);
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(subject_.port.folder)) {
    known.insert(entry.path().filename().string());
    known.insert(entry.path().stem().string());
  }
}

void PortVocabulary::learn_sdk() {
  if (sdk_.empty()) return;
  for (const char* folder : {"lockstep", "lockstep/nn"}) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(sdk_ / folder, ignored)) {
      if (entry.is_regular_file()) {
        collect_words(read_source(read_text_file(entry.path())).code, known);
      }
    }
  }
}

// "granite3" is no name of its own: the family's, at a version.
std::string PortVocabulary::known_name(const std::string& family) const {
  const std::string stem = family.substr(0, family.find_first_of("0123456789"));
  return names.is_registered(family) || stem.empty() ? family : stem;
}

bool PortVocabulary::is_own(const std::string& name) const {
  const std::string family = std::ranges::find(own_, name) == own_.end() ? known_name(name) : name;
  if (names.is_registered(family) && std::ranges::find(own_, family) == own_.end() &&
      std::ranges::none_of(own_, [&](const std::string& own) { return own.starts_with(family); })) {
    return false;
  }
  return std::ranges::any_of(own_,
                             [&](const std::string& own) { return is_same_family(own, family); });
}

// Where it is said that the port comes from `family`; empty: nowhere.
std::string PortVocabulary::lineage_of(const std::string& mentioned) const {
  const std::string family = lineage_.contains(mentioned) ? mentioned : known_name(mentioned);
  for (const auto& [name, where] : lineage_) {
    if (name == family) return where;
  }
  for (const auto& [name, where] : lineage_) {
    const bool is_other =
        names.is_registered(family) && names.is_registered(name) && !name.starts_with(family);
    if (!is_other && is_same_family(name, family)) return where;
  }
  return "";
}

}  // namespace lockstep::port
