#include "serve/served_model.h"

#include <algorithm>

#include "text/utf8.h"

namespace lockstep::serve {

bool ServedModel::answers_to(std::string_view model) const {
  return model.empty() || std::ranges::find(names, model) != names.end() ||
         std::ranges::find(aliases, model) != aliases.end();
}

std::string ServedModel::token_bytes_of(int32_t id) const {
  if (!tokenizer.has_value()) return {};
  if (tokenizer->is_special(id)) return std::string(tokenizer->id_to_token(id).value_or(""));
  return std::string(token_bytes->bytes(id));
}

std::string ServedModel::token_text(int32_t id) const {
  std::string text;
  text::append_lossy_utf8(text, token_bytes_of(id));
  return text;
}

}  // namespace lockstep::serve
