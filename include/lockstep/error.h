// The one exception type of Lockstep, inside the engine and inside a port.
// It never crosses the plug-in boundary: builder.h and the host turn it into codes there.
#pragma once

#include <exception>
#include <string>
#include <utility>

namespace lockstep {

/// Why something could not be done. The numbers are part of the plug-in ABI.
enum class ErrorCode : int {
  kInvalidArgument = 1,     ///< The caller's input is wrong: a flag, a request, a shape.
  kNotFound = 2,            ///< A file, tensor, key or architecture does not exist.
  kFailedPrecondition = 3,  ///< Two things that must agree do not: config and headers, versions.
  kOutOfRange = 4,          ///< A number outside what is allowed.
  kUnimplemented = 5,       ///< Well-formed, but this build cannot do it.
  kResourceExhausted = 6,   ///< Memory, pages or disk ran out.
  kUnavailable = 7,         ///< A peer or device did not answer.
  kCancelled = 8,           ///< The user or client stopped it.
  kInternal = 9,            ///< A bug of Lockstep's own.
};

/// `message` names the file, tensor path or parameter, what was expected and what was found;
/// `hint` says what to do, and may be empty.
class Error : public std::exception {
 public:
  Error(ErrorCode code, std::string message, std::string hint = {})
      : code_(code), message_(std::move(message)), hint_(std::move(hint)) {}

  ErrorCode code() const noexcept { return code_; }
  const std::string& message() const noexcept { return message_; }
  const std::string& hint() const noexcept { return hint_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorCode code_;
  std::string message_;
  std::string hint_;
};

}  // namespace lockstep
