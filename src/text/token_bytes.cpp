#include "text/token_bytes.h"

#include <array>
#include <charconv>

#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace lockstep::text {
namespace {

// A token that decodes to one letter or digit: what stands before others, since many decoders treat
// the first token of a text otherwise.
std::optional<int32_t> plain_token(const Tokenizer& tokenizer) {
  for (size_t id = 0; id < tokenizer.id_limit(); ++id) {
    const std::array<int32_t, 1> one{static_cast<int32_t>(id)};
    if (tokenizer.is_special(one[0])) continue;
    const std::string text = tokenizer.decode(one);
    if (text.size() == 1 &&
        ((text[0] >= 'a' && text[0] <= 'z') || (text[0] >= '0' && text[0] <= '9'))) {
      return one[0];
    }
  }
  return std::nullopt;
}

// "<0x0A>", as vocabularies with byte fallback write a byte.
std::optional<char> fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  unsigned byte = 0;
  const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
  if (error != std::errc{} || end != token.data() + 5) return std::nullopt;
  return static_cast<char>(byte);
}

std::string bytes_of(const Tokenizer& tokenizer, int32_t id, std::optional<int32_t> before,
                     const std::string& text_before) {
  const std::optional<std::string_view> token = tokenizer.id_to_token(id);
  if (!token.has_value() || tokenizer.is_special(id)) return {};
  std::string text;
  if (before.has_value()) {
    const std::array<int32_t, 2> two{*before, id};
    text = tokenizer.decode(two);
    if (text.starts_with(text_before)) {
      text.erase(0, text_before.size());
    } else {
      text.clear();
    }
  }
  if (text.empty()) text = tokenizer.decode({&id, 1});
  if (text.find(kReplacementCharacter) == text.npos ||
      token->find(kReplacementCharacter) != token->npos) {
    return text;
  }
  // Part of a character: the decoder had no whole one to give.
  if (const std::optional<char> byte = fallback_byte(*token)) return std::string(1, *byte);
  std::string bytes;
  return append_bytes_of_alphabet(bytes, *token) ? bytes : text;
}

}  // namespace

TokenBytes::TokenBytes(const Tokenizer& tokenizer) {
  const std::optional<int32_t> before = plain_token(tokenizer);
  const std::string text_before = before.has_value() ? tokenizer.decode({&*before, 1}) : "";
  begins_.reserve(tokenizer.id_limit() + 1);
  for (size_t id = 0; id < tokenizer.id_limit(); ++id) {
    begins_.push_back(static_cast<uint32_t>(all_.size()));
    all_ += bytes_of(tokenizer, static_cast<int32_t>(id), before, text_before);
  }
  begins_.push_back(static_cast<uint32_t>(all_.size()));
}

std::string_view TokenBytes::bytes(int32_t id) const noexcept {
  const auto i = static_cast<size_t>(id);
  if (id < 0 || i + 1 >= begins_.size()) return {};
  return std::string_view(all_).substr(begins_[i], begins_[i + 1] - begins_[i]);
}

}  // namespace lockstep::text
