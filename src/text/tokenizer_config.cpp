#include "text/tokenizer_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "base/text.h"
#include "lockstep/error.h"

namespace lockstep::text {
namespace {

using nlohmann::json;

constexpr std::array<const char*, 7> kNamedTokens = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

class Reader {
 public:
  explicit Reader(const std::string& file) : file_(file) {}

  json parse(std::string_view text) const {
    try {
      json document = json::parse(text);
      if (!document.is_object()) fail("", "one JSON object", document);
      return document;
    } catch (const json::exception& error) {
      throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: {}", file_, error.what()),
                  "the file is damaged, or was edited by hand; fetch it again");
    }
  }

  [[noreturn]] void fail(const std::string& key, std::string_view expected,
                         const json& found) const {
    throw Error(
        ErrorCode::kInvalidArgument,
        fmt::format("{}: {}expected {}, found {}", file_, key.empty() ? "" : quote_text(key) + ": ",
                    expected, found.is_string() ? "a string" : found.type_name()));
  }

  std::optional<bool> flag(const json& object, const char* key) const {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return std::nullopt;
    if (!found->is_boolean()) fail(key, "true or false", *found);
    return found->get<bool>();
  }

  // An object with a content and flags, or the content alone, which then is special.
  AddedToken token(const std::string& key, const json& value) const {
    AddedToken token;
    if (value.is_string()) {
      token.content = value.get<std::string>();
      token.special = true;
      token.normalized = false;
      return token;
    }
    if (!value.is_object() || !value.contains("content") || !value["content"].is_string()) {
      fail(key, "a token: a string, or an object with a content", value);
    }
    token.content = value["content"].get<std::string>();
    token.single_word = flag(value, "single_word").value_or(false);
    token.lstrip = flag(value, "lstrip").value_or(false);
    token.rstrip = flag(value, "rstrip").value_or(false);
    token.special = flag(value, "special").value_or(false);
    token.normalized = flag(value, "normalized").value_or(!token.special);
    return token;
  }

  std::vector<AddedToken> added_tokens(const json& object) const {
    const auto found = object.find("added_tokens_decoder");
    if (found == object.end() || found->is_null()) return {};
    if (!found->is_object()) fail("added_tokens_decoder", "an object", *found);
    std::map<uint32_t, AddedToken> by_id;
    for (const auto& [key, value] : found->items()) {
      uint32_t id = 0;
      const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
      if (error != std::errc() || end != key.data() + key.size()) {
        fail("added_tokens_decoder", "ids as keys", json(key));
      }
      by_id.emplace(id, token("added_tokens_decoder." + key, value));
    }
    std::vector<AddedToken> tokens;
    for (auto& [id, token] : by_id) tokens.push_back(std::move(token));
    return tokens;
  }

  // A list, or an object of names and tokens.
  void extra_tokens(const json& object, const char* key, std::vector<AddedToken>& tokens) const {
    const auto found = object.find(key);
    if (found == object.end() || found->is_null()) return;
    if (!found->is_array() && !found->is_object()) fail(key, "a list of tokens", *found);
    for (const json& value : *found) {
      tokens.push_back(token(key, value));
      tokens.back().special = true;
    }
  }

 private:
  const std::string& file_;
};

// Named tokens and extra ones of `object`, with the flags that the decoder's table gives them.
void read_special_tokens(const Reader& reader, const json& object, TokenizerConfig& config) {
  const auto add = [&](AddedToken token) {
    for (const AddedToken& known : config.added_tokens) {
      if (known.content == token.content) token = known;
    }
    token.special = true;
    config.special_tokens.push_back(std::move(token));
  };
  for (const char* name : kNamedTokens) {
    const auto found = object.find(name);
    if (found == object.end() || found->is_null()) continue;
    AddedToken token = reader.token(name, *found);
    if (name == kNamedTokens[0]) config.bos_token = token.content;
    if (name == kNamedTokens[1]) config.eos_token = token.content;
    add(std::move(token));
  }
  std::vector<AddedToken> extra;
  reader.extra_tokens(object, "extra_special_tokens", extra);
  if (!object.contains("extra_special_tokens")) {
    reader.extra_tokens(object, "additional_special_tokens", extra);
  }
  for (AddedToken& token : extra) add(std::move(token));
  // Tokens that a family names itself: image_token and the like.
  for (const auto& [key, value] : object.items()) {
    const bool named = std::ranges::find(kNamedTokens, key) != kNamedTokens.end();
    if (key.ends_with("_token") && !named && value.is_string()) add(reader.token(key, value));
  }
}

}  // namespace

TokenizerConfig TokenizerConfig::parse(std::string_view text, const std::string& file) {
  const Reader reader(file);
  const json object = reader.parse(text);
  TokenizerConfig config;
  config.added_tokens = reader.added_tokens(object);
  read_special_tokens(reader, object, config);
  config.add_bos_token = reader.flag(object, "add_bos_token");
  config.add_eos_token = reader.flag(object, "add_eos_token");
  config.clean_up_tokenization_spaces =
      reader.flag(object, "clean_up_tokenization_spaces").value_or(false);
  config.clean_up_even_bpe =
      reader.flag(object, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output")
          .value_or(false);
  config.split_special_tokens = reader.flag(object, "split_special_tokens").value_or(false);
  return config;
}

TokenizerConfig TokenizerConfig::load(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "tokenizer_config.json";
  const std::filesystem::path map_path = folder / "special_tokens_map.json";
  TokenizerConfig config;
  std::string text = "{}";
  if (std::filesystem::exists(path)) {
    text = read_text_file(path);
    config = parse(text, path.string());
  }
  // Of before added_tokens_decoder: its entries win over tokenizer_config.json's.
  if (config.added_tokens.empty() && std::filesystem::exists(map_path)) {
    const std::string map_file = map_path.string();
    json object = Reader(path.string()).parse(text);
    object.update(Reader(map_file).parse(read_text_file(map_path)));
    config = parse(object.dump(), map_file);
  }
  return config;
}

}  // namespace lockstep::text
