#include "port/inspect.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "graph/trace.h"
#include "lockstep/error.h"
#include "port/candidate.h"
#include "port/config_keys.h"
#include "port/donor_trace.h"
#include "port/key_places.h"
#include "port/topics.h"

namespace lockstep::port {
namespace {

using Kind = ConfigFile::Kind;
using State = KeyRow::State;

constexpr size_t kMostDonors = 3;

// What a trace says of the keys, in the names that config.json has.
struct KeyUse {
  ConfigReads reads;
  std::vector<std::string> unread;
  std::string refusal;
  bool is_own = false;  // the model's own architecture
};

bool covers(const std::string& above, const std::string& path) {
  return path == above || path.starts_with(above + ".");
}

KeyUse trace_keys(const LockstepArchitecture& architecture, const ModelFacts& facts) {
  KeyUse use;
  use.is_own = true;
  const ConfigFile config = ConfigFile::parse(facts.config.text(), facts.config.file());
  try {
    trace(architecture, config, facts.headers(), DType::kFloat32, &use.reads);
  } catch (const Error& error) {
    use.refusal = error.message();
  }
  use.unread = config.unread();
  return use;
}

// With the nearest donor: what it read, and what it could not have been told.
KeyUse trace_donor_keys(const LockstepArchitecture& donor, const ModelFacts& facts) {
  const Candidate candidate = Candidate::of(facts);
  KeyUse use;
  const ConfigFile config = ConfigFile::parse(candidate.config.dump(), facts.config.file());
  try {
    trace(donor, config, candidate.headers, DType::kFloat32, &use.reads);
  } catch (const Error& error) {
    use.refusal = error.message();
  }
  use.unread = trace_donor(donor, candidate).unread;
  // Of a wrapper these are the text model's: as config.json has them.
  if (!candidate.wrapper_key.empty()) {
    for (std::string& path : use.unread) path = candidate.wrapper_key + "." + path;
    for (ConfigReads::Read& read : use.reads.reads) {
      read.path = candidate.wrapper_key + "." + read.path;
    }
  }
  return use;
}

// Whether ConfigFile leaves a key of this name out of what nobody read.
bool is_ignored_name(const std::string& name) {
  const nlohmann::json probe = {{name, 1}};
  try {
    return ConfigFile::parse(probe.dump(), "probe").unread().empty();
  } catch (const Error&) {
    return false;  // A key of which the file makes sense: it is read.
  }
}

// Below a key that is ignored everything is; the text model's own keys stand for themselves.
bool is_ignored(const std::string& path) {
  return is_ignored_name(path.substr(0, path.find('.'))) ||
         is_ignored_name(path.substr(path.rfind('.') + 1));
}

// What the runtime takes from config.json, whatever the architecture.
std::string runtime_use(const std::string& path) {
  const std::string name = path.substr(path.rfind('.') + 1);
  if (name == "dtype" || name == "torch_dtype") return "runtime: the activations";
  if (name == "max_position_embeddings") return "runtime: longest context";
  return "";
}

// The names under which a port may have asked for `path`: config.json of either generation.
std::vector<std::string> asked_names(const std::string& path) {
  const size_t dot = path.rfind('.');
  const std::string before = dot == std::string::npos ? "" : path.substr(0, dot + 1);
  const std::string name = path.substr(dot + 1);
  std::vector<std::string> names = {path, before + "rope_parameters." + name};
  if (const size_t at = path.find("rope_scaling."); at != std::string::npos) {
    std::string newer = path;
    names.push_back(newer.replace(at, 13, "rope_parameters."));
    if (name == "type") names.push_back(path.substr(0, at) + "rope_parameters.rope_type");
  }
  if (name == "torch_dtype") names.push_back(before + "dtype");
  return names;
}

const ConfigReads::Read* find_read(const KeyUse& use, const std::string& path) {
  for (const std::string& name : asked_names(path)) {
    const auto found = std::ranges::find(use.reads.reads, name, &ConfigReads::Read::path);
    if (found != use.reads.reads.end()) return &*found;
  }
  return nullptr;
}

// Numbers as config.json and the port write them: 1e-06 and 0.000001 are one.
bool is_same_value(const std::string& a, const std::string& b) {
  if (a == b) return true;
  const auto x = nlohmann::json::parse(a, nullptr, false);
  const auto y = nlohmann::json::parse(b, nullptr, false);
  return !x.is_discarded() && !y.is_discarded() && x == y;
}

const Delta* delta_of(const DonorReport* donor, const std::string& path) {
  if (donor == nullptr) return nullptr;
  const std::string name = path.substr(path.rfind('.') + 1);
  const auto found = std::ranges::find_if(donor->deltas, [&](const Delta& delta) {
    return std::ranges::any_of(delta.keys, [&](const std::string& key) {
      return key == path || path.ends_with("." + key) || key.substr(key.rfind('.') + 1) == name;
    });
  });
  return found == donor->deltas.end() ? nullptr : &*found;
}

class Rows {
 public:
  Rows(const ConfigKeys& keys, const KeyUse& use, const DonorReport* donor, const std::string& slug)
      : keys_(keys), use_(use), donor_(donor), places_(slug) {}

  std::vector<KeyRow> run() {
    for (const ConfigKey& key : keys_.all()) {
      const bool is_open = key.node->kind == Kind::kObject && !key.node->members.empty();
      // What sees or hears is one row; what tells how weights are stored is opened.
      if (!key.is_text && key.path.find("quantization_config") == std::string::npos) continue;
      if (is_open && !is_closed(key)) continue;
      add(key);
    }
    add_absent();
    return std::move(rows_);
  }

 private:
  // An object of which no part stands in the list.
  bool is_closed(const ConfigKey& key) const {
    const auto child = std::ranges::find_if(keys_.all(), [&](const ConfigKey& other) {
      return other.path.starts_with(key.path + ".");
    });
    return !child->is_text && key.path.find("quantization_config") == std::string::npos;
  }

  bool is_unread(const std::string& path) const {
    return std::ranges::any_of(use_.unread,
                               [&](const std::string& above) { return covers(above, path); });
  }

  void add(const ConfigKey& key) {
    KeyRow row;
    row.path = key.path;
    row.value = shown_value(*key.node, 40);
    const ConfigReads::Read* read = find_read(use_, key.path);
    if (read != nullptr) row.standard = read->default_json;
    row.where = read != nullptr || !is_ignored(key.path) ? places_.find(key.path) : "";
    if (const Delta* delta = delta_of(donor_, key.path)) {
      row.state = State::kDelta;
      row.kind = delta->kind;
      row.where = fmt::format("delta {}: {}", delta->number, delta->part);
    } else if (key.node->kind == Kind::kNull) {
      row.state = State::kDefault;  // As if it were absent.
    } else if (is_ignored(key.path) && read == nullptr) {
      row.state = State::kIgnored;
    } else if (read == nullptr && !runtime_use(key.path).empty()) {
      row.where = runtime_use(key.path);
    } else if (is_unread(key.path) || (read == nullptr && !use_.is_own && row.where.empty())) {
      row.state = State::kUnread;
      row.where = key.path.find("quantization_config") != std::string::npos ? "see check-walls"
                  : key.node->kind == Kind::kObject ? "not of the text model"
                                                    : "";
      row.kind = structural(key) ? Delta::Kind::kStructural : Delta::Kind::kCosmetic;
    } else {
      row.state = !row.standard.empty() && is_same_value(row.value, row.standard) ? State::kDefault
                                                                                  : State::kSet;
      if (read != nullptr && !read->module.empty()) row.where += " in " + read->module;
    }
    rows_.push_back(std::move(row));
  }

  static bool structural(const ConfigKey& key) {
    const auto value =
        nlohmann::ordered_json::parse(shown_value(*key.node, 1u << 16), nullptr, false);
    return !value.is_discarded() && is_structural(key.name, value);
  }

  // What the port asked for and config.json lacks: a default counts.
  void add_absent() {
    for (const ConfigReads::Read& read : use_.reads.reads) {
      if (read.default_json.empty() || keys_.at(read.path) != nullptr) continue;
      const bool has_older_name = std::ranges::any_of(keys_.all(), [&](const ConfigKey& key) {
        const std::vector<std::string> names = asked_names(key.path);
        return std::ranges::find(names, read.path) != names.end();
      });
      if (has_older_name) continue;
      rows_.push_back({.path = read.path,
                       .value = "",
                       .standard = read.default_json,
                       .state = State::kDefault,
                       .where = places_.find(read.path)});
    }
  }

  const ConfigKeys& keys_;
  const KeyUse& use_;
  const DonorReport* donor_;
  KeyPlaces places_;
  std::vector<KeyRow> rows_;
};

std::vector<std::string> checklist_of(const Inspection& i) {
  std::vector<std::string> list;
  const auto count = [&](State state) { return std::ranges::count(i.keys, state, &KeyRow::state); };
  if (i.is_registered) {
    if (const auto n = count(State::kUnread); n > 0) {
      list.push_back(fmt::format("{} read by nobody: does the reference read {}?",
                                 counted(n, "key"), n == 1 ? "it" : "them"));
    }
    list.push_back("verify against the reference before it is relied on");
  } else {
    list.push_back("every key above is read, or its being unread explained");
    if (!i.donors.empty()) {
      for (const Delta& delta : i.donors.front().deltas) {
        if (delta.kind != Delta::Kind::kStructural) continue;
        list.push_back(fmt::format("delta {} ({}): {}", delta.number, delta.part, delta.change));
      }
    }
    list.push_back("the reference's code read in the order above, before the first line of a port");
  }
  for (const ShapeFinding& finding : i.shapes) {
    list.push_back(fmt::format("{}: {}", finding.tensor, finding.what));
  }
  if (i.card.chat_template.empty()) {
    list.push_back("the prompt's form: the repository has no chat template");
  }
  return list;
}

}  // namespace

std::string_view name_of(KeyRow::State state) {
  constexpr std::array<std::string_view, 5> kNames = {"set", "default", "unread", "ignored",
                                                      "delta"};
  return kNames[static_cast<size_t>(state)];
}

Inspection inspect(const ModelFacts& facts, const Registry& registry,
                   const InspectOptions& options) {
  Inspection i;
  i.model = facts.model;
  i.class_name = facts.class_name;
  i.model_type = facts.model_type;
  const ConfigKeys keys(facts.config.text(), facts.config.file());
  const LockstepArchitecture* architecture = registry.find(facts.class_name);
  KeyUse use;
  if (architecture != nullptr) {
    i.is_registered = true;
    const auto entry =
        std::ranges::find(registry.entries(), architecture, &Registry::Entry::architecture);
    i.origin = entry->origin;
    use = trace_keys(*architecture, facts);
    i.refusal = use.refusal;
  } else {
    i.donors = rank_donors(facts, registry);
    if (i.donors.size() > kMostDonors) i.donors.resize(kMostDonors);
    architecture = i.donors.empty() ? nullptr : registry.find(i.donors.front().class_name);
    if (architecture != nullptr) use = trace_donor_keys(*architecture, facts);
  }
  if (architecture != nullptr) i.slug = architecture->slug;
  i.keys = Rows(keys, use, i.donors.empty() ? nullptr : &i.donors.front(), i.slug).run();
  i.size = size_of(facts, keys);
  for (const TensorEntry& entry : facts.tensors.tensors) {
    i.bytes_by_dtype[std::string(dtype_name(entry.dtype))] += entry.end - entry.begin;
  }
  i.no_tensors = facts.no_tensors;
  i.shapes = check_shapes(facts, keys);
  i.card = read_card(facts);
  i.reference = find_reference(facts, keys, options.python);
  i.checklist = checklist_of(i);
  return i;
}

}  // namespace lockstep::port
