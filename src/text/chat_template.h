// The chat templates of a model folder, and messages as the text the model was trained on. Mirrors
// apply_chat_template() of transformers' tokenizers.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja_template.h"

namespace lockstep {

/// What apply_chat_template() takes. The order of members is kept: templates print objects.
struct ChatRequest {
  nlohmann::ordered_json messages;
  nlohmann::ordered_json tools;      ///< null: none
  nlohmann::ordered_json documents;  ///< null: none
  bool add_generation_prompt = false;
  /// The text ends where this field of the last message does, for the model to go on; empty: off.
  std::string continue_final_message;
  /// One of the folder's named templates; empty: `tool_use` where there are tools and such a
  /// template, else the default one.
  std::string template_name;
  /// Further variables; they hide special tokens of the same name.
  nlohmann::ordered_json variables = nlohmann::ordered_json::object();

  /// From one object: `messages`, `tools`, `documents`, `add_generation_prompt`,
  /// `continue_final_message` (true means "content"), `chat_template` (a name), and variables.
  /// Throws kInvalidArgument naming the member.
  static ChatRequest from_json(const nlohmann::ordered_json& json);
};

class ChatTemplate {
 public:
  /// chat_template.jinja and chat_templates/*.jinja; without any, what tokenizer_config.json has
  /// under `chat_template`, a string or a list of names. Special tokens from tokenizer_config.json
  /// and special_tokens_map.json. Throws kNotFound where there is no template, kInvalidArgument
  /// naming file and cause.
  static ChatTemplate open(const std::filesystem::path& folder);
  /// `source` instead of the folder's templates, with the folder's special tokens; `file` is its
  /// name in messages.
  static ChatTemplate of_source(const std::filesystem::path& folder, std::string source,
                                const std::string& file);

  /// "default" is the one without name.
  std::vector<std::string> names() const;
  /// The special tokens by attribute, such as bos_token, as templates see them.
  const nlohmann::ordered_json& special_tokens() const noexcept { return special_tokens_; }

  /// Throws kInvalidArgument for messages that are not a list of objects, what the template
  /// refuses, and a final message that cannot be continued.
  jinja::Rendering render(const ChatRequest& request,
                          const jinja::RenderOptions& options = {}) const;

 private:
  struct Named {
    std::string name, source;
    jinja::Template compiled;
  };
  const Named& choose(const ChatRequest& request) const;
  void add(const std::string& name, std::string source, const std::string& file);

  std::string folder_;
  std::vector<Named> templates_;
  nlohmann::ordered_json special_tokens_ = nlohmann::ordered_json::object();
};

}  // namespace lockstep
