// lockstep: parses the command line, runs one command, turns errors into messages and status.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/command_list.h"
#include "lockstep/abi.h"
#include "lockstep/error.h"

namespace {

constexpr int kUndecided = 2;

const char* code_name(lockstep::ErrorCode code) {
  using lockstep::ErrorCode;
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kFailedPrecondition:
      return "failed_precondition";
    case ErrorCode::kOutOfRange:
      return "out_of_range";
    case ErrorCode::kUnimplemented:
      return "unimplemented";
    case ErrorCode::kResourceExhausted:
      return "resource_exhausted";
    case ErrorCode::kUnavailable:
      return "unavailable";
    case ErrorCode::kCancelled:
      return "cancelled";
    case ErrorCode::kInternal:
      return "internal";
  }
  return "internal";
}

int report(const lockstep::Error& error, bool json) {
  if (json) {
    const nlohmann::json document = {{"error",
                                      {{"code", code_name(error.code())},
                                       {"message", error.message()},
                                       {"hint", error.hint()}}}};
    fmt::print("{}\n", document.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
  }
  fmt::print(stderr, "lockstep: {}\n", error.message());
  if (!error.hint().empty()) fmt::print(stderr, "  {}\n", error.hint());
  return kUndecided;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Lockstep: bring a Hugging Face model into a native runtime, and prove it right.",
               "lockstep");
  app.set_version_flag("--version", LOCKSTEP_SDK_VERSION);
  app.require_subcommand(1);
  lockstep::cli::Action action;
  lockstep::cli::add_all_commands(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int status = app.exit(error);
    return status == 0 ? 0 : kUndecided;
  }
  try {
    return action.run();
  } catch (const lockstep::Error& error) {
    return report(error, action.json);
  } catch (const std::bad_alloc&) {
    return report({lockstep::ErrorCode::kResourceExhausted, "out of memory"}, action.json);
  } catch (const std::exception& error) {
    return report({lockstep::ErrorCode::kInternal, error.what(), "this is a bug of lockstep"},
                  action.json);
  }
}
