// The model as clients see it: its names, and text in and out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/chat_template.h"
#include "text/token_bytes.h"
#include "text/tokenizer.h"

namespace lockstep::serve {

struct ServedModel {
  std::vector<std::string> names;    // the first is what answers say
  std::vector<std::string> aliases;  // accepted as well
  std::string root;                  // what the command was given
  int64_t created = 0;               // seconds since 1970
  std::optional<text::Tokenizer> tokenizer;
  std::optional<text::TokenBytes> token_bytes;  // where there is a tokenizer
  std::optional<ChatTemplate> chat_template;
  std::string chat_template_problem;  // why there is none

  /// The text side of a model folder; `chat_template` is a file or a template's text to take
  /// instead of the folder's, empty for none. Throws for files that are there and cannot be read.
  static ServedModel open(const std::filesystem::path& folder, const std::string& chat_template);

  const std::string& name() const { return names.front(); }
  /// Whether requests for `model` are for this one; the empty name is.
  bool answers_to(std::string_view model) const;
  /// The text of a token by itself: its name for special ones, U+FFFD for parts of characters.
  std::string token_text(int32_t id) const;
  /// The bytes that a token adds to a text; the name's for special ones.
  std::string token_bytes_of(int32_t id) const;
};

}  // namespace lockstep::serve
