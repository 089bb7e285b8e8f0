// Which tokens may come next for an answer to stay inside a grammar.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/request.h"
#include "serve/grammar.h"
#include "text/token_bytes.h"

namespace lockstep::serve {

/// A vocabulary by bytes, for going through all tokens that can follow. Fixed; shared by all
/// requests.
class TokenTrie {
 public:
  /// `bytes` must outlive this. Tokens without bytes never come; `ends` end a text.
  TokenTrie(const text::TokenBytes& bytes, size_t vocab_size, std::vector<int32_t> ends);

  /// In preorder: children follow, and `skip` is the first node that is no child.
  struct Node {
    unsigned char byte;
    uint16_t depth;  // bytes before this one
    uint32_t skip;
    uint32_t first_token, n_tokens;  // in tokens(): those that end here
  };
  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<int32_t>& tokens() const { return tokens_; }
  const std::vector<int32_t>& ends() const { return ends_; }
  size_t n_words() const { return (vocab_size_ + 31) / 32; }
  std::string_view bytes(int32_t id) const { return bytes_.bytes(id); }
  size_t longest() const { return longest_; }

  /// A token whose first bytes stay inside a string, from a plain place on.
  struct InString {
    int32_t token;
    uint32_t n_characters;  // begun inside
    std::string_view rest;  // after the closing quote
    bool closes;
  };
  /// Those that do not close it, by characters; then those that do, by rest.
  const std::vector<InString>& staying() const { return staying_; }
  const std::vector<InString>& closing() const { return closing_; }
  /// All of staying(), a bit an id.
  const std::vector<uint32_t>& staying_mask() const { return staying_mask_; }

 private:
  void build_nodes();
  void sort_string_tokens();

  const text::TokenBytes& bytes_;
  size_t vocab_size_, longest_ = 0;
  std::vector<int32_t> ends_, tokens_;
  std::vector<Node> nodes_;
  std::vector<InString> staying_, closing_;
  std::vector<uint32_t> staying_mask_;
};

class GrammarMask final : public TokenMask {
 public:
  /// `trie` must outlive this.
  GrammarMask(std::shared_ptr<const Grammar> grammar, const TokenTrie& trie);

  bool allow(std::span<const int32_t> output, std::span<uint32_t> allowed) noexcept override;

 private:
  using Mask = std::vector<uint32_t>;
  bool follow(std::span<const int32_t> output);
  bool feed(std::string_view bytes);
  void restart();
  const Mask& mask_of(StackId stack);
  void walk(StackId stack, Mask& mask);
  void fill_in_string(const StackSet::Inside& inside, Mask& mask);
  bool accepts(StackId stack, std::string_view bytes);
  static void step(StackSet& stacks, const std::vector<StackId>& from, unsigned char byte,
                   std::vector<StackId>& to);

  std::shared_ptr<const Grammar> grammar_;
  const TokenTrie& trie_;
  std::unique_ptr<StackSet> stacks_;
  std::vector<StackId> now_, next_;
  std::string text_;       // so far, to begin anew when stacks_ is full
  size_t n_followed_ = 0;  // tokens
  bool ended_ = false;
  std::unordered_map<StackId, Mask> masks_;
  std::vector<std::vector<StackId>> path_;  // by depth, while walking
};

}  // namespace lockstep::serve
