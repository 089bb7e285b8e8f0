#include "parity/served_tokens.h"

#include <fmt/format.h>

#include <array>

#include "base/text.h"

namespace lockstep::parity {

void ServedTokens::read_vocabulary() {
  was_read_ = true;
  const auto add = [](Names& names, std::string name, int64_t id) {
    const auto [at, is_new] = names.emplace(std::move(name), id);
    if (!is_new && at->second != id) at->second = kSeveral;
  };
  // Decoders treat the first token otherwise: a leading blank goes. So each stands behind another.
  const std::vector<int32_t> before = tokenizer_->encode("a", {.add_special_tokens = false});
  const int32_t anchor = before.empty() ? 0 : before.back();
  const std::string alone = tokenizer_->decode({&anchor, 1});
  const auto n = static_cast<int32_t>(tokenizer_->id_limit());
  for (int32_t id = 0; id < n; ++id) {
    const auto piece = tokenizer_->id_to_token(id);
    if (!piece.has_value()) continue;
    add(pieces_, std::string(*piece), id);
    const std::array<int32_t, 2> ids = {anchor, id};
    const std::string both = tokenizer_->decode(ids);
    if (both.starts_with(alone)) add(in_text_, both.substr(alone.size()), id);
  }
}

std::optional<int64_t> ServedTokens::find(const Names& names, const std::string& name,
                                          bool& several) const {
  const auto found = names.find(name);
  if (found == names.end()) return std::nullopt;
  several = several || found->second == kSeveral;
  return found->second == kSeveral ? std::nullopt : std::optional(found->second);
}

std::optional<int64_t> ServedTokens::id_of(const client::ServerToken& token, std::string& why) {
  if (token.id.has_value()) return token.id;
  if (tokenizer_ == nullptr) {
    why = "the server names tokens by text, and the model has no tokenizer here";
    return std::nullopt;
  }
  if (!was_read_) read_vocabulary();
  const std::string& name = token.bytes.has_value() ? *token.bytes : token.text;
  bool several = false;
  std::optional<int64_t> id = find(in_text_, name, several);
  // A name that is one token's text may be another's piece: the text goes first, as servers have
  // it.
  if (!id.has_value() && !several) id = find(pieces_, token.text, several);
  if (!id.has_value()) {
    why = fmt::format("the server says {}, which {}", quote_text(name),
                      several ? "several tokens are written as" : "is no token of this model");
  }
  return id;
}

std::string ServedTokens::shown(int64_t id) const {
  if (tokenizer_ == nullptr || id < 0 || id >= static_cast<int64_t>(tokenizer_->id_limit())) {
    return fmt::format("{}", id);
  }
  const auto only = static_cast<int32_t>(id);
  const std::string text = tokenizer_->decode({&only, 1});
  return fmt::format("{} {}", id,
                     quote_text(text.empty() ? tokenizer_->id_to_token(only).value_or("")
                                             : std::string_view(text)));
}

}  // namespace lockstep::parity
