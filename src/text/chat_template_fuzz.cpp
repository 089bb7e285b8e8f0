// Any bytes as a template: an Error, or a text within the limits, and twice the same.
#include <cstdint>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "lockstep/error.h"
#include "text/jinja_template.h"

namespace {

const nlohmann::ordered_json& variables() {
  static const auto kVariables = nlohmann::ordered_json::parse(R"({
    "messages": [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "Hi é世"},
                 {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f",
                  "arguments": {"x": 1.5, "y": [true, "z"]}}}]}],
    "tools": [{"function": {"name": "f", "parameters": {"properties": {}}}}],
    "documents": null, "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>",
    "s": "a,b c", "i": 7, "x": -2.5, "list": [3, 1, 2], "e": ""})");
  return kVariables;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  lockstep::jinja::RenderOptions options;
  options.limits = {.steps = 200'000, .memory_bytes = 32u << 20, .string_bytes = 4u << 20};
  options.now = std::tm{};
  try {
    const auto parsed = lockstep::jinja::Template::parse(source, "fuzz");
    const std::string once = parsed.render(variables(), options).text;
    if (once != parsed.render(variables(), options).text) std::abort();
  } catch (const lockstep::Error&) {
  }
  return 0;
}
