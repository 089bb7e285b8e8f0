#include "text/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/file.h"
#include "base/text.h"
#include "lockstep/error.h"
#include "text/jinja_unicode.h"

namespace lockstep {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

constexpr const char* kConfigFile = "tokenizer_config.json";
constexpr std::string_view kContinueTag = "CONTINUE_FINAL_MESSAGE_TAG ";

[[noreturn]] void fail_request(const std::string& message, std::string hint = {}) {
  throw Error(ErrorCode::kInvalidArgument, message, std::move(hint));
}

/// The object in a JSON file, null where there is no such file.
Json read_object(const fs::path& path) {
  if (!fs::exists(path)) return {};
  const std::string text = read_text_file(path);
  Json json;
  try {
    json = Json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    fail_request(fmt::format("{}: byte {}: not JSON", path.string(), error.byte));
  }
  if (!json.is_object()) {
    fail_request(fmt::format("{}: expected an object, found {}", path.string(), json.type_name()));
  }
  return json;
}

/// The text of a token: a string, or an AddedToken object of the older files. Empty when neither.
const std::string* token_text(const Json& value) {
  if (value.is_string()) return value.get_ptr<const std::string*>();
  if (!value.is_object()) return nullptr;
  const auto content = value.find("content");
  return content != value.end() && content->is_string() ? content->get_ptr<const std::string*>()
                                                        : nullptr;
}

bool is_token_name(const std::string& key) { return key.size() > 6 && key.ends_with("_token"); }

void add_tokens(const Json& object, Json& tokens) {
  for (const auto& [key, value] : object.items()) {
    const std::string* text = token_text(value);
    if (is_token_name(key) && text != nullptr) tokens[key] = *text;
  }
}

/// As transformers: the map file counts where the config does not carry its added tokens.
Json read_special_tokens(const fs::path& folder, const Json& config) {
  Json tokens = Json::object();
  if (config.is_object()) add_tokens(config, tokens);
  if (!config.is_object() || !config.contains("added_tokens_decoder")) {
    if (const Json map = read_object(folder / "special_tokens_map.json"); map.is_object()) {
      add_tokens(map, tokens);
    }
  }
  if (config.is_object() && config.contains("extra_special_tokens")) {
    const Json& extra = config["extra_special_tokens"];
    for (const auto& [key, value] : extra.items()) {
      const std::string* text = token_text(value);
      if (extra.is_object() && text != nullptr) tokens[key] = *text;
    }
  }
  return tokens;
}

std::vector<fs::path> named_files(const fs::path& folder) {
  std::vector<fs::path> files;
  if (!fs::is_directory(folder)) return files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".jinja") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

/// The text that a final message is continued from, with the tag put behind it.
std::string* final_text(Json& messages, const std::string& field) {
  Json& message = messages.back();
  const auto found = message.find(field);
  if (found == message.end() || found->is_null()) {
    fail_request(
        fmt::format("continue_final_message is set, but the final message has no {} to "
                    "continue",
                    quote_text(field)));
  }
  if (found->is_string()) return found->get_ptr<std::string*>();
  if (found->is_array()) {
    for (auto block = found->rbegin(); block != found->rend(); ++block) {
      if (!block->is_object() || !block->contains("text")) continue;
      if ((*block)["text"].is_string()) return (*block)["text"].get_ptr<std::string*>();
    }
  }
  fail_request("continue_final_message is set, but the final message has no text to continue");
}

/// Cuts `text` where the tag stands.
void cut_at_tag(jinja::Rendering& rendering, std::string_view final_message) {
  std::string& text = rendering.text;
  const std::string_view tag = kContinueTag.substr(0, kContinueTag.size() - 1);
  const std::string_view shown = jinja::strip_space(final_message, jinja::Side::kBoth);
  const size_t at = text.rfind(tag);
  if (at == text.npos || text.find(shown) == text.npos) {
    fail_request(
        "continue_final_message is set, but the final message does not appear in the chat after "
        "applying the template",
        "the template leaves out or changes part of the final message");
  }
  // Without the space behind the tag the template trims messages, and so must the text be.
  const bool is_trimmed = text.compare(at, kContinueTag.size(), kContinueTag) != 0;
  text.resize(at);
  if (is_trimmed) text.resize(jinja::strip_space(text, jinja::Side::kRight).size());
  for (auto& span : rendering.generations) {
    span.begin = std::min(span.begin, text.size());
    span.end = std::min(span.end, text.size());
  }
}

void check_list_of_objects(const Json& value, const char* what) {
  if (!value.is_array()) {
    fail_request(fmt::format("{}: expected a list of objects, found {}", what, value.type_name()));
  }
  for (size_t i = 0; i < value.size(); ++i) {
    if (!value[i].is_object()) {
      fail_request(
          fmt::format("{}[{}]: expected an object, found {}", what, i, value[i].type_name()));
    }
  }
}

bool read_flag(const Json& value, const char* what) {
  if (!value.is_boolean()) {
    fail_request(fmt::format("{}: expected true or false, found {}", what, value.type_name()));
  }
  return value.get<bool>();
}

}  // namespace

ChatRequest ChatRequest::from_json(const Json& json) {
  if (!json.is_object()) {
    fail_request(fmt::format("a chat is an object with \"messages\", not {}", json.type_name()));
  }
  if (!json.contains("messages")) fail_request("a chat needs the member \"messages\"");
  ChatRequest request;
  for (const auto& [key, value] : json.items()) {
    if (key == "messages") {
      request.messages = value;
    } else if (key == "tools") {
      request.tools = value;
    } else if (key == "documents") {
      request.documents = value;
    } else if (key == "add_generation_prompt") {
      request.add_generation_prompt = read_flag(value, "add_generation_prompt");
    } else if (key == "continue_final_message") {
      if (value.is_string()) {
        request.continue_final_message = value.get<std::string>();
      } else if (read_flag(value, "continue_final_message")) {
        request.continue_final_message = "content";
      }
    } else if (key == "chat_template") {
      if (!value.is_string()) fail_request("chat_template: expected a template's name");
      request.template_name = value.get<std::string>();
    } else {
      request.variables[key] = value;
    }
  }
  return request;
}

void ChatTemplate::add(const std::string& name, std::string source, const std::string& file) {
  jinja::Template compiled = jinja::Template::parse(source, file);
  for (Named& known : templates_) {
    if (known.name != name) continue;
    known = {name, std::move(source), std::move(compiled)};
    return;
  }
  templates_.push_back({name, std::move(source), std::move(compiled)});
}

ChatTemplate ChatTemplate::open(const fs::path& folder) {
  ChatTemplate out;
  out.folder_ = folder.string();
  const Json config = read_object(folder / kConfigFile);
  out.special_tokens_ = read_special_tokens(folder, config);
  if (const fs::path file = folder / "chat_template.jinja"; fs::exists(file)) {
    out.add("default", read_text_file(file), file.string());
  }
  for (const fs::path& file : named_files(folder / "chat_templates")) {
    out.add(file.stem().string(), read_text_file(file), file.string());
  }
  const std::string config_file = (folder / kConfigFile).string();
  if (out.templates_.empty() && config.is_object() && config.contains("chat_template")) {
    const Json& value = config["chat_template"];
    if (value.is_string()) {
      out.add("default", value.get<std::string>(), config_file + ": chat_template");
    } else if (value.is_array()) {
      for (const Json& entry : value) {
        if (!entry.is_object() || !entry.contains("name") || !entry.contains("template") ||
            !entry["name"].is_string() || !entry["template"].is_string()) {
          fail_request(fmt::format(
              "{}: chat_template: expected objects with the strings \"name\" and \"template\"",
              config_file));
        }
        const auto name = entry["name"].get<std::string>();
        out.add(name, entry["template"].get<std::string>(),
                fmt::format("{}: chat_template {}", config_file, quote_text(name)));
      }
    } else if (!value.is_null()) {
      fail_request(fmt::format("{}: chat_template: expected a string or a list, found {}",
                               config_file, value.type_name()));
    }
  }
  if (out.templates_.empty()) {
    throw Error(ErrorCode::kNotFound,
                fmt::format("{}: no chat template: neither chat_template.jinja, nor "
                            "chat_templates/, nor chat_template in tokenizer_config.json",
                            out.folder_),
                "a base model has none; give it a prompt instead");
  }
  return out;
}

ChatTemplate ChatTemplate::of_source(const fs::path& folder, std::string source,
                                     const std::string& file) {
  ChatTemplate out;
  out.folder_ = folder.string();
  out.special_tokens_ = read_special_tokens(folder, read_object(folder / kConfigFile));
  out.add("default", std::move(source), file);
  return out;
}

std::vector<std::string> ChatTemplate::names() const {
  std::vector<std::string> out;
  for (const Named& named : templates_) out.push_back(named.name);
  return out;
}

const ChatTemplate::Named& ChatTemplate::choose(const ChatRequest& request) const {
  const auto find = [this](std::string_view name) -> const Named* {
    for (const Named& named : templates_) {
      if (named.name == name) return &named;
    }
    return nullptr;
  };
  const Named* found = nullptr;
  if (!request.template_name.empty()) {
    found = find(request.template_name);
  } else {
    if (!request.tools.is_null()) found = find("tool_use");
    if (found == nullptr) found = find("default");
  }
  if (found != nullptr) return *found;
  std::string known;
  for (const Named& named : templates_) known += (known.empty() ? "" : ", ") + named.name;
  fail_request(fmt::format("{}: no chat template {}", folder_,
                           request.template_name.empty() ? "without a name"
                                                         : quote_text(request.template_name)),
               "the templates of this model are: " + known);
}

jinja::Rendering ChatTemplate::render(const ChatRequest& request,
                                      const jinja::RenderOptions& options) const {
  check_list_of_objects(request.messages, "messages");
  if (request.messages.empty()) fail_request("messages: an empty list is no chat");
  if (!request.tools.is_null()) check_list_of_objects(request.tools, "tools");
  if (!request.documents.is_null()) check_list_of_objects(request.documents, "documents");
  const Named& chosen = choose(request);
  Json variables = special_tokens_;
  for (const auto& [key, value] : request.variables.items()) variables[key] = value;
  variables["messages"] = request.messages;
  variables["tools"] = request.tools;
  variables["documents"] = request.documents;
  variables["add_generation_prompt"] = request.add_generation_prompt;
  const std::string& field = request.continue_final_message;
  if (field.empty()) return chosen.compiled.render(variables, options);
  if (request.add_generation_prompt) {
    fail_request("continue_final_message and add_generation_prompt exclude each other");
  }
  if (chosen.source.find(field) == std::string::npos) {
    fail_request(
        fmt::format("continue_final_message: the template has no field {}", quote_text(field)));
  }
  std::string* text = final_text(variables["messages"], field);
  const std::string final_message = *text;
  *text += kContinueTag;
  jinja::Rendering rendering = chosen.compiled.render(variables, options);
  cut_at_tag(rendering, final_message);
  return rendering;
}

}  // namespace lockstep
