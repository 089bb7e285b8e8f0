// What an answer must look like: response_format, structured_outputs and forced calls of tools, as
// grammars.
#include <fmt/format.h>

#include "serve/api_generation.h"
#include "serve/json_schema.h"

namespace lockstep::serve {
namespace {

using Shared = std::shared_ptr<const Grammar>;

Result<Shared> shared(Result<Grammar> made) {
  if (auto* error = std::get_if<ApiError>(&made)) return std::move(*error);
  return std::make_shared<const Grammar>(std::move(std::get<Grammar>(made)));
}

Json parameters_of(const Json& tool) {
  const Json& function = tool["function"];
  if (function.contains("parameters") && function["parameters"].is_object()) {
    return function["parameters"];
  }
  return {{"type", "object"}};
}

// One call of one of the tools.
Result<Shared> call_grammar(const Json& tools) {
  Json any = Json::array();
  for (const Json& tool : tools) {
    Json call = {{"type", "object"}, {"required", {"name", "arguments"}}};
    call["properties"]["name"]["const"] = tool["function"]["name"];
    call["properties"]["arguments"] = parameters_of(tool);
    any.push_back(std::move(call));
  }
  return shared(grammar_of_schema({{"anyOf", std::move(any)}}, "tools"));
}

}  // namespace

Result<Shared> Api::grammar_of(const GenerationRequest& request) const {
  const OutputFormat& format = request.format;
  switch (format.kind) {
    case OutputFormat::Kind::kText:
      break;
    case OutputFormat::Kind::kJsonObject:
      return std::make_shared<const Grammar>(grammar_of_any_object());
    case OutputFormat::Kind::kJsonSchema:
      return shared(grammar_of_schema(format.schema, format.param));
    case OutputFormat::Kind::kChoice:
      return shared(grammar_of_choices(format.choices, format.param));
  }
  return Shared();
}

std::optional<ApiError> Api::constrain(Generation& generation) const {
  auto made = grammar_of(*generation.request);
  if (generation.chat != nullptr) {
    const ToolChoice& choice = generation.chat->tool_choice;
    const bool is_forced =
        choice.kind == ToolChoice::Kind::kNamed || choice.kind == ToolChoice::Kind::kRequired;
    if (is_forced && generation.request->format.kind != OutputFormat::Kind::kText) {
      return ApiError{400, "response_format: not together with a forced call of a tool",
                      "response_format"};
    }
    if (choice.kind == ToolChoice::Kind::kRequired) {
      generation.tool_style = ToolStyle::kBare;
      made = call_grammar(generation.chat->tools);
    }
    if (choice.kind == ToolChoice::Kind::kNamed) {
      generation.tool_style = ToolStyle::kArguments;
      generation.tool_name = choice.name;
      for (const Json& tool : generation.chat->tools) {
        if (tool["function"]["name"] != choice.name) continue;
        made = shared(grammar_of_schema(parameters_of(tool), "tools"));
        break;
      }
    }
  }
  if (auto* error = std::get_if<ApiError>(&made)) return std::move(*error);
  generation.grammar = std::get<Shared>(std::move(made));
  if (!generation.grammar) return std::nullopt;
  if (!trie_) {
    const std::string& param = generation.request->format.param;
    return ApiError{400, param + ": the model has no tokenizer", param};
  }
  generation.trie = trie_.get();
  return std::nullopt;
}

}  // namespace lockstep::serve
