// POST /v1/chat/completions: the body. Messages become what templates expect: contents as strings
// (text parts joined by line ends) and the arguments of tool calls as objects, as vLLM hands them
// on.
#include <fmt/format.h>

#include "base/text.h"
#include "serve/generation_fields.h"

namespace lockstep::serve {
namespace {

using Json = nlohmann::ordered_json;
using simdjson::dom::element;

// The text of content parts; images and sounds are refused by name.
std::string read_parts(Fields& fields, const std::string& place, simdjson::dom::array parts) {
  std::string text;
  size_t i = 0;
  for (const element part : parts) {
    const std::string here = fmt::format("{}[{}]", place, i);
    if (part.is_string()) {
      text += i == 0 ? "" : "\n";
      text += part.get_string().value_unsafe();
    } else if (!part.is_object()) {
      fields.fail_type(here, "an object", part);
    } else {
      Fields members(object_of(part), fields.path_of(here), fields.error());
      const std::string type = members.string("type").value_or("");
      if (type != "text" && type != "input_text" && type != "output_text" && type != "refusal") {
        members.fail("type", fmt::format("only text is supported, found {}", quote_text(type)));
        break;
      }
      const std::optional<std::string> piece = members.string(type == "refusal" ? type : "text");
      if (!piece.has_value()) members.fail("text", "expected a string, found none");
      text += i == 0 ? "" : "\n";
      text += piece.value_or("");
    }
    ++i;
  }
  return text;
}

// Templates go through arguments member by member; a string without an object stays as it is.
Json parsed_arguments(std::string_view text) {
  simdjson::dom::parser parser;
  element root;
  if (text.size() > (4u << 20) || parser.allocate(text.size() + 1, 64) != simdjson::SUCCESS ||
      parser.parse(text.data(), text.size(), true).get(root) != simdjson::SUCCESS ||
      !root.is_object()) {
    return std::string(text);
  }
  return to_ordered_json(root);
}

void read_tool_calls(Fields& message, Json& out) {
  const std::optional<simdjson::dom::array> calls = message.array("tool_calls");
  if (!calls.has_value()) return;
  Json list = Json::array();
  for (const element call : *calls) {
    const std::string here = fmt::format("tool_calls[{}]", list.size());
    if (!call.is_object()) {
      message.fail_type(here, "an object", call);
      return;
    }
    Fields members(object_of(call), message.path_of(here), message.error());
    std::optional<Fields> function = members.object("function");
    if (!function.has_value()) {
      members.fail("function", "expected an object with name and arguments, found none");
      return;
    }
    if (!function->string("name").has_value()) {
      function->fail("name", "expected a string, found none");
    }
    Json copy = to_ordered_json(call);
    if (copy["function"].contains("arguments") && copy["function"]["arguments"].is_string()) {
      Json& arguments = copy["function"]["arguments"];
      arguments = parsed_arguments(arguments.get_ref<const std::string&>());
    }
    list.push_back(std::move(copy));
  }
  if (!list.empty()) out["tool_calls"] = std::move(list);
}

Json read_message(Fields& message) {
  Json out = Json::object();
  const std::optional<std::string> role = message.string("role");
  if (!role.has_value()) message.fail("role", "expected a string, found none");
  out["role"] = role.value_or("");
  if (const element* content = message.find("content"); content == nullptr) {
    if (role != "assistant") message.fail("content", "expected text, found none");
    out["content"] = "";
  } else if (content->is_string()) {
    out["content"] = std::string(content->get_string().value_unsafe());
  } else if (content->is_array()) {
    out["content"] = read_parts(message, "content", array_of(*content));
  } else {
    message.fail_type("content", "a string or a list of parts", *content);
  }
  read_tool_calls(message, out);
  for (const std::string_view key : {"name", "tool_call_id", "reasoning_content", "reasoning"}) {
    if (std::optional<std::string> text = message.string(key)) {
      out[std::string(key)] = std::move(*text);
    }
  }
  return out;
}

void read_messages(Fields& fields, Json& messages) {
  messages = Json::array();
  const std::optional<simdjson::dom::array> list = fields.array("messages");
  if (!list.has_value() || list->size() == 0) {
    fields.fail("messages", "expected at least one message, found none");
    return;
  }
  for (const element item : *list) {
    const std::string here = fmt::format("messages[{}]", messages.size());
    if (!item.is_object()) {
      fields.fail_type(here, "an object", item);
      return;
    }
    Fields message(object_of(item), fields.path_of(here), fields.error());
    messages.push_back(read_message(message));
    if (fields.failed()) return;
  }
}

void read_tools(Fields& fields, Json& tools) {
  const std::optional<simdjson::dom::array> list = fields.array("tools");
  if (!list.has_value() || list->size() == 0) return;
  tools = Json::array();
  for (const element item : *list) {
    const std::string here = fmt::format("tools[{}]", tools.size());
    if (!item.is_object()) {
      fields.fail_type(here, "an object", item);
      return;
    }
    Fields tool(object_of(item), fields.path_of(here), fields.error());
    const std::string type = tool.string("type").value_or("function");
    if (type != "function") {
      tool.fail("type", fmt::format("expected function, found {}", quote_text(type)));
    }
    std::optional<Fields> function = tool.object("function");
    if (!function.has_value()) {
      tool.fail("function", "expected an object with a name, found none");
      return;
    }
    if (function->string("name").value_or("").empty()) {
      function->fail("name", "expected a name, found none");
    }
    function->string("description");
    function->object("parameters");
    if (fields.failed()) return;
    tools.push_back(to_ordered_json(item));
  }
}

bool has_tool(const Json& tools, const std::string& name) {
  for (const Json& tool : tools) {
    if (tool["function"]["name"] == name) return true;
  }
  return false;
}

void read_tool_choice(Fields& fields, ChatCompletionRequest& request) {
  ToolChoice& choice = request.tool_choice;
  const bool has_tools = request.tools.is_array();
  choice.kind = has_tools ? ToolChoice::Kind::kAuto : ToolChoice::Kind::kNone;
  const element* value = fields.find("tool_choice");
  if (value == nullptr) return;
  const std::string_view word = value->is_string() ? value->get_string().value_unsafe() : "";
  if (word == "none") {
    choice.kind = ToolChoice::Kind::kNone;
    return;
  }
  if (word == "auto" && !has_tools) return;
  if (!has_tools) {
    fields.fail("tool_choice", "when it is given, tools must be given as well");
  } else if (word == "auto") {
    choice.kind = ToolChoice::Kind::kAuto;
  } else if (word == "required") {
    choice.kind = ToolChoice::Kind::kRequired;
  } else if (std::optional<Fields> named =
                 value->is_object() ? fields.object("tool_choice") : std::nullopt) {
    std::optional<Fields> function = named->object("function");
    choice.kind = ToolChoice::Kind::kNamed;
    if (function.has_value()) choice.name = function->string("name").value_or("");
    if (!has_tool(request.tools, choice.name)) {
      fields.fail("tool_choice", fmt::format("expected the name of one of the tools, found {}",
                                             quote_text(choice.name)));
    }
  } else {
    fields.fail_type("tool_choice", "none, auto, required or a function", *value);
  }
}

void read_logprobs(Fields& fields, const RequestLimits& limits, ChatCompletionRequest& request) {
  const bool wanted = fields.boolean_or("logprobs", false);
  const auto top = fields.integer("top_logprobs", -1, limits.max_logprobs);
  if (top.has_value() && *top != 0 && !wanted) {
    fields.fail("top_logprobs", "when it is given, logprobs must be true");
  }
  if (wanted) request.logprobs = top.value_or(0);
}

}  // namespace

void read_conversation(Fields& fields, ChatCompletionRequest& request) {
  read_messages(fields, request.messages);
  read_tools(fields, request.tools);
  if (const std::optional<simdjson::dom::array> documents = fields.array("documents")) {
    request.documents = to_ordered_json(*fields.find("documents"));
    for (const Json& document : request.documents) {
      if (!document.is_object()) fields.fail("documents", "expected a list of objects");
    }
  }
  if (fields.object("chat_template_kwargs").has_value()) {
    request.template_variables = to_ordered_json(*fields.find("chat_template_kwargs"));
  }
  if (fields.has("chat_template")) {
    fields.fail("chat_template", "templates of clients are not run; the server has its own");
  }
  request.continue_final_message = fields.boolean_or("continue_final_message", false);
  request.add_generation_prompt =
      fields.boolean_or("add_generation_prompt", !request.continue_final_message);
  if (request.continue_final_message && request.add_generation_prompt) {
    fields.fail("continue_final_message",
                "a message cannot be continued when add_generation_prompt is true");
  }
}

Result<ChatCompletionRequest> parse_chat_request(std::string_view text,
                                                 const RequestLimits& limits) {
  RequestBody body(text);
  Fields fields(body);
  ChatCompletionRequest request;
  read_generation_fields(fields, limits, request);
  if (fields.failed()) return std::move(*body.error());
  read_conversation(fields, request);
  if (fields.failed()) return std::move(*body.error());
  read_tool_choice(fields, request);
  read_logprobs(fields, limits, request);
  request.parallel_tool_calls = fields.boolean_or("parallel_tool_calls", true);
  request.add_special_tokens = fields.boolean_or("add_special_tokens", false);
  if (const auto most = fields.integer("max_completion_tokens", 0, INT32_MAX)) {
    request.max_tokens = most;
    request.max_tokens_param = "max_completion_tokens";
  }
  if (request.max_tokens == 0)
    fields.fail(request.max_tokens_param, "expected at least 1, found 0");
  if (request.max_tokens.has_value() && request.sampling.min_tokens > *request.max_tokens) {
    fields.fail("min_tokens",
                fmt::format("expected at most {}, {}, found {}", request.max_tokens_param,
                            *request.max_tokens, request.sampling.min_tokens));
  }
  if (fields.failed()) return std::move(*body.error());
  return request;
}

}  // namespace lockstep::serve
