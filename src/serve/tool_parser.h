// Function calls in what a model writes, as its chat template taught it: taken out of the text as
// it comes.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "serve/responses.h"

namespace lockstep::serve {

enum class ToolStyle : uint8_t {
  kNone,       // the text is all text
  kTagged,     // Hermes, Qwen: <tool_call>{"name": ..., "arguments": {...}}</tool_call>, any number
  kBare,       // Llama 3: the whole answer is {"name": ..., "parameters": {...}}
  kArguments,  // the whole answer is the arguments of a function that is known
};

/// How the model of a chat template writes calls, found by what the template itself writes.
ToolStyle find_tool_style(std::string_view rendered_with_tools,
                          std::string_view rendered_without_tools);

class ToolParser {
 public:
  /// `name` is the function's, of kArguments.
  explicit ToolParser(ToolStyle style, std::string name = {})
      : style_(style), name_(std::move(name)) {}

  struct Delta {
    std::string text;
    std::vector<ToolCall> calls;  // whole ones
  };
  /// What `text` settles. Text that may begin a call is held back until it is known.
  Delta push(std::string_view text);
  /// The rest. What began a call and is none comes as text: nothing the model wrote is lost.
  Delta finish();
  size_t n_calls() const noexcept { return n_calls_; }

 private:
  void take_tagged(Delta& delta);
  bool take_call(std::string_view json, Delta& delta);

  ToolStyle style_;
  std::string name_, waiting_;
  size_t n_calls_ = 0;
};

}  // namespace lockstep::serve
