#include "cli/prompt_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "base/log.h"
#include "cli/model_options.h"
#include "lockstep/error.h"
#include "text/chat_template.h"

namespace lockstep::cli {
namespace {

bool starts_with(std::span<const int32_t> ids, const std::vector<int32_t>& prefix) {
  return ids.size() >= prefix.size() && std::ranges::equal(ids.first(prefix.size()), prefix);
}

// The tokens' own names: "<bos>".
std::string names_of(const text::Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  std::string names;
  for (const int32_t id : ids) names += tokenizer.id_to_token(id).value_or("?");
  return names;
}

std::vector<int32_t> encode_prompt(const std::string& text, const text::Tokenizer& tokenizer) {
  std::vector<int32_t> ids = tokenizer.encode(text);
  const std::vector<int32_t> prefix = tokenizer.prefix_ids();
  if (!prefix.empty() && starts_with(ids, prefix) &&
      starts_with(std::span(ids).subspan(prefix.size()), prefix)) {
    log_warn(
        fmt::format("--prompt: the text begins with {}, which the tokenizer adds as well: it is "
                    "there twice, as in transformers",
                    names_of(tokenizer, prefix)));
  }
  return ids;
}

std::vector<int32_t> encode_chat(const std::string& message, const std::filesystem::path& folder,
                                 const text::Tokenizer& tokenizer) {
  ChatRequest request;
  request.messages = {{{"role", "user"}, {"content", message}}};
  request.add_generation_prompt = true;
  const std::string text = ChatTemplate::open(folder).render(request).text;
  std::vector<int32_t> ids = tokenizer.encode(text, {.add_special_tokens = false});
  const std::vector<int32_t> prefix = tokenizer.prefix_ids();
  if (!prefix.empty()) {
    const std::string names = names_of(tokenizer, prefix);
    log_info(
        starts_with(ids, prefix)
            ? fmt::format("--chat: the template wrote {}; the tokenizer's own is left out", names)
            : fmt::format("--chat: the template wrote no {}, so there is none, as in "
                          "transformers' apply_chat_template",
                          names));
  }
  return ids;
}

}  // namespace

void PromptOptions::add_to(CLI::Option_group& group) {
  group.add_option("--prompt", prompt, "text, with the special tokens of the tokenizer")
      ->type_name("T");
  group.add_option("--chat", chat, "a user's message, through the model's chat template")
      ->type_name("T");
  group.add_option("--prompt-ids", ids, "token ids, separated by commas")->type_name("1,2,3");
}

std::vector<int32_t> PromptOptions::encode(const std::filesystem::path& folder,
                                           const std::optional<text::Tokenizer>& tokenizer) const {
  if (!is_text()) return parse_ids("--prompt-ids", ids);
  std::vector<int32_t> encoded = chat.has_value() ? encode_chat(*chat, folder, *tokenizer)
                                                  : encode_prompt(*prompt, *tokenizer);
  if (encoded.empty()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: the text has no tokens", chat.has_value() ? "--chat" : "--prompt"),
                "give some text, or --prompt-ids");
  }
  return encoded;
}

}  // namespace lockstep::cli
