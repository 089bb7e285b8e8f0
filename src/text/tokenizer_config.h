// tokenizer_config.json, and special_tokens_map.json of before: what transformers adds to a
// tokenizer and how it is used.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/added_tokens.h"

namespace lockstep::text {

struct TokenizerConfig {
  /// `added_tokens_decoder`, ordered by id.
  std::vector<AddedToken> added_tokens;
  /// bos_token to mask_token, then extra_special_tokens (additional_special_tokens of before).
  std::vector<AddedToken> special_tokens;
  std::optional<std::string> bos_token, eos_token;
  std::optional<bool> add_bos_token, add_eos_token;
  bool clean_up_tokenization_spaces = false;
  bool clean_up_even_bpe = false;
  bool split_special_tokens = false;

  /// Reads both generations. Without the files everything is as above. Throws kInvalidArgument
  /// naming file, key, expected and found.
  static TokenizerConfig load(const std::filesystem::path& folder);
  static TokenizerConfig parse(std::string_view json, const std::string& file);
};

}  // namespace lockstep::text
