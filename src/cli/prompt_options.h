// The prompt of a command that runs a model: text, a user's message, or token ids.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace lockstep::cli {

struct PromptOptions {
  std::optional<std::string> prompt, chat;
  std::string ids;

  /// --prompt, --chat and --prompt-ids; `group` says that one of them is required.
  void add_to(CLI::Option_group& group);
  /// Whether a tokenizer is needed.
  bool is_text() const noexcept { return prompt.has_value() || chat.has_value(); }

  /// The ids that transformers would run: --prompt as its tokenizer encodes it; --chat as its
  /// apply_chat_template() does, where no special token stands that the template did not write.
  /// Says on stderr what that means for a leading token such as <bos>. `tokenizer` is read where
  /// is_text(). Throws kNotFound without a chat template, kInvalidArgument for text without tokens,
  /// text that is not UTF-8, and ids that are no numbers.
  std::vector<int32_t> encode(const std::filesystem::path& folder,
                              const std::optional<text::Tokenizer>& tokenizer) const;
};

}  // namespace lockstep::cli
