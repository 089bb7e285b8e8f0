// lockstep tokenize: text to tokens and back, a line of JSON each.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "base/text.h"
#include "cli/command.h"
#include "hub/checkpoint.h"
#include "lockstep/error.h"
#include "text/tokenizer.h"

namespace lockstep::cli {
namespace {

using nlohmann::json;

struct TokenizeOptions {
  std::string model;
  std::string jsonl;
};

json tokenize_line(const text::Tokenizer& tokenizer, const std::string& line, size_t number) {
  json request;
  try {
    request = json::parse(line);
  } catch (const json::exception& error) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("line {}: {}", number, error.what()));
  }
  if (!request.is_object() || !request.contains("text") || !request["text"].is_string()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("line {}: expected an object with a string \"text\", found {}", number,
                            quote_text(line)));
  }
  const json special = request.value("add_special_tokens", json(true));
  if (!special.is_boolean()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("line {}: add_special_tokens: expected true or false, found {}", number,
                            special.dump()));
  }
  const std::vector<int32_t> ids = tokenizer.encode(request["text"].get_ref<const std::string&>(),
                                                    {.add_special_tokens = special.get<bool>()});
  json tokens = json::array();
  for (const int32_t id : ids) {
    const std::optional<std::string_view> token = tokenizer.id_to_token(id);
    tokens.push_back(token.has_value() ? json(*token) : json(nullptr));
  }
  return {{"ids", ids},
          {"tokens", std::move(tokens)},
          {"decoded", tokenizer.decode(ids)},
          {"decoded_skip_special", tokenizer.decode(ids, {.skip_special_tokens = true})}};
}

int tokenize(const TokenizeOptions& options) {
  const text::Tokenizer tokenizer = text::Tokenizer::open(find_model_folder(options.model));
  std::ifstream file;
  if (!options.jsonl.empty()) {
    file.open(options.jsonl);
    if (!file) {
      throw Error(ErrorCode::kNotFound, fmt::format("{}: cannot be read", options.jsonl));
    }
  }
  std::istream& in = options.jsonl.empty() ? std::cin : file;
  size_t number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    fmt::print("{}\n", tokenize_line(tokenizer, line, number).dump());
  }
  return 0;
}

}  // namespace

void add_tokenize(CLI::App& app, Action& action) {
  auto options = std::make_shared<TokenizeOptions>();
  CLI::App* command = add_command(
      app, "tokenize", "Text to token ids and back: a line {\"text\": ...} in, a line of JSON out",
      "echo '{\"text\": \"Hello\"}' | lockstep tokenize examples/storyteller");
  command->add_option("MODEL", options->model, "folder in Hugging Face layout, or a cached Hub id")
      ->required();
  command->add_option("--jsonl", options->jsonl, "read lines from this file instead of stdin");
  command->callback([options, &action] {
    action.json = true;
    action.run = [options] { return tokenize(*options); };
  });
}

}  // namespace lockstep::cli
