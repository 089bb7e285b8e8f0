// A model looked at before anything is ported: every key of config.json and where it is read, what
// the tensor headers say against it, what the card tells, and where the reference's code is.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "port/delta.h"
#include "port/model_card.h"
#include "port/model_facts.h"
#include "port/model_size.h"
#include "port/reference_source.h"
#include "port/shape_check.h"
#include "runtime/registry.h"

namespace lockstep::port {

/// A key of config.json, or one that it leaves to its default.
struct KeyRow {
  enum class State { kSet, kDefault, kUnread, kIgnored, kDelta };
  std::string path;
  std::string value;     // as JSON on one line; empty where config.json lacks it
  std::string standard;  // the reference's default where the port states it; else empty
  State state = State::kSet;
  std::string where;  // "archs/llama.h:23"; what else is known of it
  Delta::Kind kind = Delta::Kind::kCosmetic;
};
std::string_view name_of(KeyRow::State state);

struct Inspection {
  std::string model, class_name, model_type;
  std::string slug;            // of the architecture the keys were traced with
  bool is_registered = false;  // that architecture is the model's own
  std::string origin;          // of a registered one: "built in", or a port's file
  std::string refusal;         // why it does not take config.json; empty where it does
  std::vector<KeyRow> keys;
  ModelSize size;
  std::map<std::string, uint64_t> bytes_by_dtype;
  std::string no_tensors;  // why there are no tensors, where there are none
  std::vector<ShapeFinding> shapes;
  ModelCard card;
  ReferenceSource reference;
  std::vector<DonorReport> donors;  // the nearest first; none for a registered class
  std::vector<std::string> checklist;
};

struct InspectOptions {
  std::string python = "python3";  // looked for transformers' sources; they are not imported
};
/// Reads headers and small files alone. Throws what ModelFacts says of an unreadable config.json.
Inspection inspect(const ModelFacts& facts, const Registry& registry,
                   const InspectOptions& options);

/// For people: at most 100 columns, the last line "next: ...".
std::string to_text(const Inspection& inspection);
nlohmann::json to_json(const Inspection& inspection);

}  // namespace lockstep::port
