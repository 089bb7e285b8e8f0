// Tokens that are found in the text before the model sees it: special ones, and those added later.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/byte_trie.h"
#include "text/model.h"
#include "text/normalizer.h"

namespace lockstep::text {

struct AddedToken {
  std::string content;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the white space before it along
  bool rstrip = false;       // and after it
  bool normalized = true;    // is looked for in normalised text, as normalised itself
  bool special = false;      // can be left out of decoded text, and out of encoding

  bool operator==(const AddedToken&) const = default;
};

class AddedTokens {
 public:
  /// A part of a text: token `id`, or text that is none where id is negative.
  struct Span {
    size_t begin, end;
    int32_t id;
  };

  /// Adds tokens as the reference does: under the id that the content has already, in here or in
  /// the model, else under the next free one. Empty ones are left out; one of the same content is
  /// replaced. `normalizer` may be nullptr.
  void add(const std::vector<AddedToken>& tokens, const Model& model, const Normalizer* normalizer);

  std::optional<int32_t> find(std::string_view content) const;
  /// As added; nullptr for an id that is not here.
  const AddedToken* token(int32_t id) const;
  /// What stands for the id when decoding: the normalised form where it was looked for as that.
  std::optional<std::string_view> text_of(int32_t id) const;
  bool is_special(std::string_view content) const;
  /// Ids that are here, in any order.
  std::vector<int32_t> ids() const;

  /// Appends the spans of `text`, all of it in order; leftmost, then longest tokens. Those that are
  /// not normalised are looked for in the text as given, the others in normalised text.
  void find_in_raw(std::string_view text, bool skip_special, std::vector<Span>& spans) const {
    raw_.find_in(*this, text, skip_special, spans);
  }
  void find_in_normalized(std::string_view text, bool skip_special,
                          std::vector<Span>& spans) const {
    normalized_.find_in(*this, text, skip_special, spans);
  }

 private:
  struct Entry {
    AddedToken token;
    int32_t id;
    std::string normalized;  // differs from the content, or is empty
  };
  struct Matcher {
    ByteTrie trie;            // to indices of entries_
    std::string first_bytes;  // that tokens begin with
    void find_in(const AddedTokens& tokens, std::string_view text, bool skip_special,
                 std::vector<Span>& spans) const;
    size_t next_candidate(std::string_view text, size_t at) const noexcept;
  };
  void add_one(const AddedToken& token, int32_t id, const Normalizer* normalizer);
  Matcher make_matcher(bool normalized) const;

  std::vector<Entry> entries_;
  std::unordered_map<int32_t, size_t> by_id_;
  std::unordered_map<std::string, size_t> by_content_;
  Matcher raw_, normalized_;
};

}  // namespace lockstep::text
