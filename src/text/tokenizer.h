// Text to tokens and back, as Hugging Face's tokenizers and transformers do it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lockstep::text {

class TokenSink;

struct EncodeOptions {
  bool add_special_tokens = true;
};

struct DecodeOptions {
  bool skip_special_tokens = false;
};

/// May be used by several threads at once.
class Tokenizer {
 public:
  /// tokenizer.json with tokenizer_config.json, or tokenizer.model alone, of a model folder. Throws
  /// kNotFound where there is neither; errors name the file, the part, its place, and what is
  /// supported.
  static Tokenizer open(const std::filesystem::path& folder);
  /// A tokenizer.json alone; `file` is its name in messages.
  static Tokenizer parse(std::string_view json, std::string file);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// Throws kInvalidArgument for text that is not UTF-8 (which transformers refuses as well), with
  /// the place; kResourceExhausted for more than 4 GiB. Time and memory are linear, but for
  /// patterns of the file that are not, and for pieces without any place to cut, n log n.
  std::vector<int32_t> encode(std::string_view text, EncodeOptions options = {}) const;
  /// As transformers' decode(). Ids without a token are left out.
  std::string decode(std::span<const int32_t> ids, DecodeOptions options = {}) const;

  std::optional<int32_t> token_to_id(std::string_view token) const;
  std::optional<std::string_view> id_to_token(int32_t id) const;
  /// One more than the highest id.
  size_t id_limit() const noexcept;
  /// Tokens that encode() puts before the text: what a text that begins with them has twice.
  std::vector<int32_t> prefix_ids() const;
  bool is_special(int32_t id) const noexcept;

  /// A run of the decoder that hands on to `out`, for tokens one by one; see detokenizer.h.
  std::unique_ptr<TokenSink> start_decoding(TokenSink& out) const;
  /// What the decoder is given for an id: nullopt where that is nothing.
  std::optional<std::string_view> decodable(int32_t id, DecodeOptions options) const noexcept;

 private:
  class Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep::text
