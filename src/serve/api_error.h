// What a client is told when a request cannot be answered: OpenAI's error object with vLLM's types,
// https://platform.openai.com/docs/guides/error-codes and vllm/entrypoints/openai.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <variant>

#include "lockstep/error.h"

namespace lockstep::serve {

struct ApiError {
  int status = 400;
  std::string message;
  /// The field of the request that is wrong; empty: null in the answer.
  std::string param{};
  /// Seconds of a Retry-After header; 0: none.
  int retry_after = 0;

  /// vLLM's name for the status: "BadRequestError", "NotFoundError", ...
  std::string type() const;
  /// {"error": {"message", "type", "param", "code"}}, `code` the status.
  nlohmann::ordered_json json() const;
};

/// What the engine or the text side threw, as a client may see it: `param` is the field it came of.
ApiError to_api_error(const Error& error, std::string param = {});

/// `text` as JSON; bytes that are no UTF-8 become U+FFFD.
std::string dump_json(const nlohmann::ordered_json& json);

template <class T>
using Result = std::variant<T, ApiError>;

}  // namespace lockstep::serve
