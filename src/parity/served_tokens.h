// Which id a server means: ids where it says them, else by the text or bytes of its tokens.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>

#include "client/completion.h"
#include "text/tokenizer.h"

namespace lockstep::parity {

class ServedTokens {
 public:
  /// `tokenizer` may be null: tokens that are named by text alone are then unknown. It must outlive
  /// this.
  explicit ServedTokens(const text::Tokenizer* tokenizer) : tokenizer_(tokenizer) {}

  /// Nothing where the name fits no id, or several, with the reason in `why`.
  std::optional<int64_t> id_of(const client::ServerToken& token, std::string& why);
  /// For tables: the token's text in quotes, or its id.
  std::string shown(int64_t id) const;

 private:
  using Names = std::unordered_map<std::string, int64_t>;  // kSeveral: of more than one id
  static constexpr int64_t kSeveral = -1;
  void read_vocabulary();
  std::optional<int64_t> find(const Names& names, const std::string& name, bool& several) const;

  const text::Tokenizer* tokenizer_;
  bool was_read_ = false;
  Names in_text_;  // as it stands behind other text
  Names pieces_;   // as the vocabulary writes it
};

}  // namespace lockstep::parity
