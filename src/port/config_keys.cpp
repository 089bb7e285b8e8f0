#include "port/config_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"

namespace lockstep::port {
namespace {

using Kind = ConfigFile::Kind;

// Parts of names of objects that do not configure what writes text.
constexpr std::array kOther = {"vision",    "visual",  "image", "audio",      "speech", "video",
                               "codec",     "qformer", "vit_",  "perceiver",  "talker", "projector",
                               "token2wav", "vq_",     "quant", "compression"};
// Where wrappers keep the text model.
constexpr std::array kTextRoots = {"text_config",
                                   "llm_config",
                                   "language_config",
                                   "language_model_config",
                                   "thinker_config.text_config",
                                   "decoder_config"};

bool is_other(std::string_view name) {
  return std::ranges::any_of(kOther,
                             [&](const char* part) { return name.find(part) != name.npos; });
}

bool has_members(const JsonNode* node) {
  return node != nullptr && node->kind == Kind::kObject && !node->members.empty();
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

std::string shown_value(const JsonNode& node, size_t limit) {
  std::string out;
  switch (node.kind) {
    case Kind::kBool:
      return node.boolean ? "true" : "false";
    case Kind::kInt:
      return fmt::format("{}", node.integer);
    case Kind::kFloat:
      return fmt::format("{}", node.number);
    case Kind::kString:
      out = quote_text(node.text);
      break;
    case Kind::kArray:
      for (const JsonNodePtr& element : node.elements) {
        if (out.size() > limit) break;
        out += (out.empty() ? "" : ", ") + shown_value(*element, limit);
      }
      out = "[" + out + "]";
      break;
    case Kind::kObject:
      for (const JsonMember& member : node.members) {
        if (out.size() > limit) break;
        out += fmt::format("{}{}: {}", out.empty() ? "" : ", ", quote_text(member.first),
                           shown_value(*member.second, limit));
      }
      out = "{" + out + "}";
      break;
    default:
      return "null";
  }
  if (out.size() <= limit) return out;
  size_t end = limit - 3;
  // Not inside a character.
  while (end > 0 && (static_cast<unsigned char>(out[end]) & 0xc0) == 0x80) --end;
  return out.substr(0, end) + "...";
}

bool ConfigKey::is_set() const {
  switch (node->kind) {
    case Kind::kBool:
      return node->boolean;
    case Kind::kInt:
    case Kind::kFloat:
      return node->number != 0;
    case Kind::kString:
      return !node->text.empty() && text() != "none" && text() != "false" && text() != "null";
    case Kind::kArray:
      return !node->elements.empty();
    case Kind::kObject:
      return !node->members.empty();
    default:
      return false;
  }
}

std::string ConfigKey::shown() const { return fmt::format("{} = {}", path, shown_value(*node)); }

std::string ConfigKey::text() const {
  return node->kind == Kind::kString ? lower_case(node->text) : std::string();
}

ConfigKeys::ConfigKeys(std::string_view json, const std::string& file)
    : root_(parse_json_tree(json, file)) {
  add(*root_, "", true);
  for (const char* path : kTextRoots) {
    const ConfigKey* key = at(path);
    if (text_root_.empty() && key != nullptr && has_members(key->node)) text_root_ = path;
  }
}

void ConfigKeys::add(const JsonNode& object, const std::string& path, bool is_text) {
  for (const JsonMember& member : object.members) {
    const std::string name = lower_case(member.first);
    const std::string full = path.empty() ? member.first : path + "." + member.first;
    keys_.push_back({full, name, member.second.get(), is_text});
    if (member.second->kind == Kind::kObject) {
      add(*member.second, full, is_text && !is_other(name));
    }
  }
}

const ConfigKey* ConfigKeys::at(std::string_view path) const {
  const auto found = std::ranges::find(keys_, path, &ConfigKey::path);
  return found == keys_.end() ? nullptr : &*found;
}

const ConfigKey* ConfigKeys::find(std::string_view name) const {
  if (!text_root_.empty()) {
    if (const ConfigKey* key = at(fmt::format("{}.{}", text_root_, name))) return key;
  }
  return at(name);
}

const ConfigKey* ConfigKeys::first(const std::function<bool(const ConfigKey&)>& wanted) const {
  const auto found = std::ranges::find_if(
      keys_, [&](const ConfigKey& key) { return key.is_text && key.is_set() && wanted(key); });
  return found == keys_.end() ? nullptr : &*found;
}

double ConfigKeys::number(std::string_view name, double otherwise) const {
  const ConfigKey* key = find(name);
  const bool is_number =
      key != nullptr && (key->node->kind == Kind::kInt || key->node->kind == Kind::kFloat);
  return is_number ? key->node->number : otherwise;
}

}  // namespace lockstep::port
