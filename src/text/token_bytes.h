// What a token adds to a text, as bytes: of a vocabulary of bytes also tokens that are parts of
// characters.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace lockstep::text {

/// The bytes of tokens in the middle of a text, for all ids. Special tokens and ids without a token
/// have none.
class TokenBytes {
 public:
  explicit TokenBytes(const Tokenizer& tokenizer);

  /// Empty for special tokens, ids without a token, and ids that are out of range.
  std::string_view bytes(int32_t id) const noexcept;
  size_t size() const noexcept { return begins_.size() - 1; }

 private:
  std::string all_;
  std::vector<uint32_t> begins_;  // [ids + 1]
};

}  // namespace lockstep::text
