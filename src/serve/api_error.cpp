#include "serve/api_error.h"

namespace lockstep::serve {

std::string ApiError::type() const {
  switch (status) {
    case 400:
      return "BadRequestError";
    case 401:
      return "AuthenticationError";
    case 404:
      return "NotFoundError";
    case 405:
      return "MethodNotAllowedError";
    case 408:
      return "RequestTimeoutError";
    case 413:
      return "RequestEntityTooLargeError";
    case 415:
      return "UnsupportedMediaTypeError";
    case 429:
      return "RateLimitError";
    case 431:
      return "RequestHeaderFieldsTooLargeError";
    case 501:
      return "NotImplementedError";
    case 503:
      return "ServiceUnavailableError";
    default:
      return status < 500 ? "BadRequestError" : "InternalServerError";
  }
}

nlohmann::ordered_json ApiError::json() const {
  nlohmann::ordered_json error = {{"message", message}, {"type", type()}};
  error["param"] = param.empty() ? nlohmann::ordered_json() : nlohmann::ordered_json(param);
  error["code"] = status;
  return {{"error", std::move(error)}};
}

ApiError to_api_error(const Error& error, std::string param) {
  int status = 500;
  switch (error.code()) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kOutOfRange:
    case ErrorCode::kUnimplemented:
      status = 400;
      break;
    case ErrorCode::kNotFound:
      status = 404;
      break;
    case ErrorCode::kResourceExhausted:
    case ErrorCode::kUnavailable:
    case ErrorCode::kCancelled:
      status = 503;
      break;
    case ErrorCode::kFailedPrecondition:
    case ErrorCode::kInternal:
      break;
  }
  std::string message = error.message();
  if (!error.hint().empty()) message += ": " + error.hint();
  return {status, std::move(message), std::move(param), status == 503 ? 1 : 0};
}

std::string dump_json(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace lockstep::serve
