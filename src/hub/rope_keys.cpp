// Both generations of config keys under the newer names. Mirrors what transformers 5 makes of them:
// modeling_rope_utils.py (RotaryEmbeddingConfigMixin), configuration_utils.py, and the overrides
// of models/gemma3 and models/gpt_neox.
//
//   `rope_scaling`, unless null or empty, replaces `rope_parameters` as a whole.
//   `rope_type`: itself, else `type`, else "default"; "su" is what "longrope" was called first.
//   `rope_theta`: of the rope object, else of the config, else `rotary_emb_base`.
//   `partial_rotary_factor`: of the rope object, else of the config, else `rotary_pct`.
//   `original_max_position_embeddings` (llama3, yarn, longrope): of the rope object, else
//       `max_position_embeddings`; with longrope that of the config comes before both (the config
//       classes that declare it, phi3 and its like, know no other scaled type).
//   `dtype`: itself, else `torch_dtype`.
//
// A rope object that holds only objects has one a layer type. `rope_local_base_freq` is the theta
// of sliding_attention, and makes an object for each layer type out of one for all.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "hub/json_tree.h"
#include "lockstep/error.h"

namespace lockstep {
namespace {

using Kind = ConfigFile::Kind;

constexpr std::string_view kSliding = "sliding_attention", kFull = "full_attention";

JsonNodePtr string_node(std::string_view text) {
  auto node = std::make_shared<JsonNode>();
  node->kind = Kind::kString;
  node->text = text;
  return node;
}

// An object that can be added to, whose reading counts as reading `original`.
JsonNodePtr copy_of(const JsonNodePtr& original) {
  auto copy = std::make_shared<JsonNode>();
  copy->kind = Kind::kObject;
  if (original != nullptr) {
    copy->members = original->members;
    copy->twins.push_back(original);
  }
  return copy;
}

void set(JsonNode& object, std::string_view name, JsonNodePtr value) {
  for (JsonMember& entry : object.members) {
    if (entry.first != name) continue;
    entry.second = std::move(value);
    return;
  }
  object.members.emplace_back(name, std::move(value));
}

// Gives `object` the first of `sources` that is present. The others count as read with it where
// they say the same; where they differ they stay unread, and are reported.
void choose(JsonNode& object, std::string_view name, std::initializer_list<JsonNodePtr> sources) {
  JsonNodePtr chosen;
  for (const JsonNodePtr& source : sources) {
    if (source == nullptr || source == chosen) continue;
    if (chosen == nullptr) {
      chosen = source;
    } else if (same_value(*chosen, *source)) {
      chosen->twins.push_back(source);
    }
  }
  if (chosen != nullptr) set(object, name, chosen);
}

bool holds_objects_alone(const JsonNode& rope) {
  const auto is_object = [](const JsonMember& entry) {
    return entry.second->kind == Kind::kObject || entry.second->kind == Kind::kNull;
  };
  const auto is_null = [](const JsonMember& entry) { return entry.second->kind == Kind::kNull; };
  return std::all_of(rope.members.begin(), rope.members.end(), is_object) &&
         !std::all_of(rope.members.begin(), rope.members.end(), is_null);
}

// The object under `key`, nullptr for null and nothing.
JsonNodePtr rope_object(const JsonNode& config, std::string_view key, const std::string& file) {
  JsonNodePtr node = config.present(key);
  if (node != nullptr && node->kind != Kind::kObject) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: {}: expected an object or null, found {}", file, key,
                            kind_name(node->kind)));
  }
  return node;
}

void complete(JsonNode& rope, const JsonNode& config) {
  const JsonNodePtr type = rope.present("type");
  choose(rope, "rope_type", {rope.present("rope_type"), type});
  if (rope.present("rope_type") == nullptr) set(rope, "rope_type", string_node("default"));
  if (rope.present("rope_type")->text == "su") {
    JsonNodePtr renamed = string_node("longrope");
    renamed->twins.push_back(rope.present("rope_type"));
    set(rope, "rope_type", std::move(renamed));
  }
  constexpr std::array<std::string_view, 3> kExtended = {"llama3", "yarn", "longrope"};
  const std::string& name = rope.present("rope_type")->text;
  if (std::find(kExtended.begin(), kExtended.end(), name) == kExtended.end()) return;
  constexpr std::string_view kOriginal = "original_max_position_embeddings";
  const JsonNodePtr declared = name == "longrope" ? config.present(kOriginal) : nullptr;
  const JsonNodePtr own = rope.present(kOriginal);
  if (declared != nullptr || own != nullptr) {
    choose(rope, kOriginal, {declared, own});
  } else {
    choose(rope, kOriginal, {config.present("max_position_embeddings")});
  }
}

JsonNodePtr flat_rope(const JsonNodePtr& base, const JsonNode& config) {
  JsonNodePtr rope = copy_of(base);
  choose(*rope, "rope_theta",
         {rope->present("rope_theta"), config.present("rope_theta"),
          config.present("rotary_emb_base")});
  choose(*rope, "partial_rotary_factor",
         {rope->present("partial_rotary_factor"), config.present("partial_rotary_factor"),
          config.present("rotary_pct")});
  complete(*rope, config);
  return rope;
}

// `base` holds an object a layer type, or nothing; `scaling` is for full attention.
JsonNodePtr nested_rope(const JsonNodePtr& base, const JsonNodePtr& scaling,
                        const JsonNode& config) {
  JsonNodePtr rope = copy_of(base);
  for (const std::string_view type : {kFull, kSliding}) {
    if (base == nullptr && rope->member(type) == nullptr) set(*rope, type, copy_of(nullptr));
  }
  for (JsonMember& entry : rope->members) {
    const bool is_sliding = entry.first == kSliding;
    JsonNodePtr inner = copy_of(entry.second->kind == Kind::kObject ? entry.second : nullptr);
    if (entry.first == kFull && scaling != nullptr) {
      inner->twins.push_back(scaling);
      for (const JsonMember& extra : scaling->members) set(*inner, extra.first, extra.second);
    }
    choose(*inner, "rope_theta",
           {inner->present("rope_theta"),
            config.present(is_sliding ? "rope_local_base_freq" : "rope_theta")});
    complete(*inner, config);
    entry.second = std::move(inner);
  }
  return rope;
}

}  // namespace

void resolve_generations(JsonNode& object, const std::string& file) {
  // Null or {} say as much as an absent key, so nothing is lost when nobody reads them.
  for (const std::string_view key : {"dtype", "torch_dtype", "rope_scaling", "rope_parameters"}) {
    const JsonNodePtr node = object.member(key);
    if (node == nullptr) continue;
    const bool is_empty = node->kind == Kind::kObject && node->members.empty();
    if (node->kind == Kind::kNull || is_empty) node->mark_read();
  }
  if (object.present("dtype") != nullptr || object.present("torch_dtype") != nullptr) {
    JsonNode chosen;
    choose(chosen, "dtype", {object.present("dtype"), object.present("torch_dtype")});
    object.resolved.push_back(chosen.members.front());
  }

  JsonNodePtr scaling = rope_object(object, "rope_scaling", file);
  if (scaling != nullptr && scaling->members.empty()) scaling = nullptr;
  const JsonNodePtr parameters = rope_object(object, "rope_parameters", file);
  const JsonNodePtr base = scaling != nullptr ? scaling : parameters;

  JsonNodePtr rope;
  if (parameters != nullptr && holds_objects_alone(*parameters)) {
    rope = nested_rope(parameters, scaling, object);
  } else if (base != nullptr && holds_objects_alone(*base)) {
    rope = nested_rope(base, nullptr, object);
  } else if (object.present("rope_local_base_freq") != nullptr) {
    rope = nested_rope(nullptr, base, object);
  } else if (base != nullptr || object.present("rope_theta") != nullptr ||
             object.present("rotary_emb_base") != nullptr ||
             object.present("rotary_pct") != nullptr ||
             object.present("partial_rotary_factor") != nullptr) {
    rope = flat_rope(base, object);
  }
  if (rope != nullptr) object.resolved.emplace_back("rope_parameters", std::move(rope));
}

}  // namespace lockstep
