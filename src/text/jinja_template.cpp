#include "text/jinja_template.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "lockstep/error.h"
#include "text/jinja_eval.h"
#include "text/jinja_json.h"
#include "text/jinja_parser.h"
#include "text/jinja_unicode.h"

namespace lockstep::jinja {
namespace {

constexpr size_t kMaxSource = 16u << 20;

[[noreturn]] void fail_template(const std::string& name, int line, const std::string& cause,
                                std::string hint, ErrorCode code = ErrorCode::kInvalidArgument) {
  throw Error(code, fmt::format("{}: line {}: {}", name, line, cause), std::move(hint));
}

[[noreturn]] void fail_rendering(const std::string& name, int line, const Failure& failure) {
  if (failure.type == "LimitError") {
    fail_template(name, line, failure.message, "a chat template needs far less than the limit",
                  ErrorCode::kResourceExhausted);
  }
  if (failure.type == "TemplateError") {
    fail_template(name, line, failure.message,
                  "the template itself refuses these messages: raise_exception()");
  }
  const std::string cause = fmt::format("{}: {}", failure.type, failure.message);
  if (failure.type == "UndefinedError") {
    fail_template(name, line, cause,
                  "the template uses what the messages or variables do not have");
  }
  fail_template(name, line, cause, "");
}

std::tm local_now() {
  const std::time_t now = std::time(nullptr);
  std::tm out{};
  localtime_r(&now, &out);
  return out;
}

}  // namespace

Template Template::parse(std::string_view source, std::string name) {
  if (source.size() > kMaxSource) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: a template of {} bytes; at most {} are read", name, source.size(),
                            kMaxSource));
  }
  if (!is_valid_utf8(source)) {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("{}: the template is not UTF-8", name));
  }
  Template out;
  try {
    out.tree_ = std::make_shared<const Tree>(jinja::parse(source));
  } catch (const SyntaxFailure& failure) {
    fail_template(name, failure.line, "TemplateSyntaxError: " + failure.message, "");
  }
  out.name_ = std::move(name);
  return out;
}

Rendering Template::render(const nlohmann::ordered_json& variables,
                           const RenderOptions& options) const {
  if (!variables.is_object()) {
    throw Error(ErrorCode::kInvalidArgument,
                fmt::format("{}: the variables of a template are a JSON object, not {}", name_,
                            variables.type_name()));
  }
  Budget budget(options.limits);
  int line = 1;
  try {
    std::vector<std::pair<std::string, Value>> values;
    for (const auto& [name, value] : variables.items()) values.emplace_back(name, from_json(value));
    Interpreter interpreter(*tree_, values, options.now ? *options.now : local_now());
    Rendering out;
    try {
      out.text = interpreter.run();
    } catch (const Failure&) {
      line = interpreter.line();
      throw;
    }
    for (const GenerationSpan& span : interpreter.generations()) {
      out.generations.push_back({span.begin, span.end});
    }
    return out;
  } catch (const Failure& failure) {
    fail_rendering(name_, line, failure);
  }
}

}  // namespace lockstep::jinja
