#include "serve/served_model.h"

#include <algorithm>
#include <chrono>

#include "base/file.h"
#include "base/text.h"
#include "lockstep/error.h"
#include "text/utf8.h"

namespace lockstep::serve {
namespace {

ChatTemplate template_of(const std::filesystem::path& folder, const std::string& given) {
  if (given.empty()) return ChatTemplate::open(folder);
  // As vLLM: a file, or the template itself.
  std::error_code ignored;
  if (std::filesystem::exists(given, ignored)) {
    return ChatTemplate::of_source(folder, read_text_file(given), given);
  }
  if (given.find_first_of("{}\n") == given.npos) {
    throw Error(ErrorCode::kNotFound, "--chat-template: no such file: " + quote_text(given),
                "give a file, or a template's text");
  }
  return ChatTemplate::of_source(folder, given, "--chat-template");
}

}  // namespace

ServedModel ServedModel::open(const std::filesystem::path& folder,
                              const std::string& chat_template) {
  ServedModel model;
  model.created = std::chrono::duration_cast<std::chrono::seconds>(
                      std::chrono::system_clock::now().time_since_epoch())
                      .count();
  try {
    model.tokenizer = text::Tokenizer::open(folder);
    model.token_bytes.emplace(*model.tokenizer);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound) throw;
  }
  try {
    model.chat_template = template_of(folder, chat_template);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kNotFound || !chat_template.empty()) throw;
    model.chat_template_problem = error.message();
  }
  return model;
}

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
