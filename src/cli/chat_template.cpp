// `lockstep chat-template`: messages as the text that a model's template makes of them.
#include "text/chat_template.h"

#include <fmt/format.h>

#include <fstream>
#include <iostream>
#include <memory>
#include <string>

#include "cli/command.h"
#include "lockstep/error.h"

namespace lockstep::cli {
namespace {

struct ChatTemplateOptions {
  std::string model;
  std::string jsonl;
};

using Json = nlohmann::ordered_json;

Json parse_line(const std::string& line) {
  try {
    return Json::parse(line);
  } catch (const nlohmann::json::parse_error& error) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("byte {}: not JSON", error.byte),
                R"(a line is {"messages":[{"role":"user","content":"Hi"}]})");
  }
}

int run_chat_template(const ChatTemplateOptions& options) {
  const ChatTemplate chat = ChatTemplate::open(options.model);
  std::ifstream file;
  if (!options.jsonl.empty()) {
    file.open(options.jsonl);
    if (!file) {
      throw Error(ErrorCode::kNotFound, fmt::format("{}: cannot be read", options.jsonl));
    }
  }
  std::istream& input = options.jsonl.empty() ? std::cin : file;
  const std::string where = options.jsonl.empty() ? "stdin" : options.jsonl;
  size_t number = 0;
  for (std::string line; std::getline(input, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    try {
      const ChatRequest request = ChatRequest::from_json(parse_line(line));
      const Json out = {{"text", chat.render(request).text}};
      fmt::print("{}\n", out.dump(-1, ' ', false, Json::error_handler_t::replace));
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("{}: line {}: {}", where, number, error.message()),
                  error.hint());
    }
  }
  fmt::print(stderr, "next: lockstep generate {} --chat 'your question'\n", options.model);
  return 0;
}

}  // namespace

void add_chat_template(CLI::App& app, Action& action) {
  auto options = std::make_shared<ChatTemplateOptions>();
  CLI::App* command = add_command(
      app, "chat-template", "Messages as text, a line of JSON each: {\"messages\":[...]} in",
      "echo "
      "'{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"add_generation_prompt\":true}'"
      " | lockstep chat-template my-model");
  command->add_option("model", options->model, "model folder")->type_name("MODEL")->required();
  command->add_option("--jsonl", options->jsonl, "file of requests; stdin when not given")
      ->type_name("F");
  command->add_flag("--json", action.json, "errors, too, as a JSON document on stdout");
  command->callback(
      [options, &action] { action.run = [options] { return run_chat_template(*options); }; });
}

}  // namespace lockstep::cli
