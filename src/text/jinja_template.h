// A template of the kind that models ship: Jinja as transformers sets it up. Parsed once, rendered
// often, by several threads if need be. docs/chat-templates.md says what is supported.
#pragma once

#include <ctime>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja_budget.h"

namespace lockstep::jinja {

struct Tree;

struct RenderOptions {
  Limits limits;
  /// What strftime_now() takes for now; the clock's local time when empty.
  std::optional<std::tm> now;
};

struct Rendering {
  struct Span {
    size_t begin, end;
  };
  std::string text;
  /// What `generation` blocks wrote, as bytes of `text`.
  std::vector<Span> generations;
};

class Template {
 public:
  /// Throws kInvalidArgument naming `name`, line and cause.
  static Template parse(std::string_view source, std::string name);

  /// `variables` is an object: what the template sees, members in their order. Throws
  /// kInvalidArgument naming template, line and cause, with what raise_exception() was called
  /// with; kResourceExhausted when a limit is reached.
  Rendering render(const nlohmann::ordered_json& variables,
                   const RenderOptions& options = {}) const;

 private:
  Template() = default;
  std::string name_;
  std::shared_ptr<const Tree> tree_;
};

}  // namespace lockstep::jinja
