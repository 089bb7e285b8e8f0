// What is put around the tokens of a text: tokenizer.json's `post_processor`, for one text.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "text/json_part.h"

namespace lockstep::text {

class PostProcessor {
 public:
  /// Adds nothing.
  PostProcessor() : items_{{kText}} {}
  /// Throws naming the part, its place in the file, and what is supported.
  explicit PostProcessor(const JsonPart& part);
  /// Begin and end tokens as transformers builds them from add_bos_token and add_eos_token.
  PostProcessor(std::optional<int32_t> begin, std::optional<int32_t> end);

  /// `ids` as it has them; special tokens only if wanted.
  std::vector<int32_t> apply(std::vector<int32_t> ids, bool add_special_tokens) const;
  /// The tokens put before the text's.
  std::vector<int32_t> prefix() const;

 private:
  // Ids, or the text's place.
  using Item = std::vector<int32_t>;
  static constexpr int32_t kText = -1;

  void read(const JsonPart& part, int depth);
  void read_template(const JsonPart& part);
  bool adds_nothing() const noexcept;

  std::vector<Item> items_;
};

}  // namespace lockstep::text
