// Log lines on stderr, through spdlog.
#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdlib>
#include <memory>
#include <string_view>

namespace lockstep {
namespace {

spdlog::level::level_enum level_from_environment() {
  const char* text = std::getenv("LOCKSTEP_LOG");
  const std::string_view name = text == nullptr ? "" : text;
  if (name == "debug") return spdlog::level::debug;
  if (name == "warn") return spdlog::level::warn;
  if (name == "error") return spdlog::level::err;
  if (name == "off") return spdlog::level::off;
  return spdlog::level::info;
}

// Kept out of spdlog's global registry, which belongs to the program that embeds the engine.
// Never destroyed: other static objects may log while the process ends.
spdlog::logger& logger() {
  static spdlog::logger* const instance = [] {
    auto* made =
        new spdlog::logger("lockstep", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%^%l%$: %v");
    made->set_level(level_from_environment());
    made->flush_on(spdlog::level::debug);
    return made;
  }();
  return *instance;
}

void log(spdlog::level::level_enum level, const std::string& message) noexcept {
  try {
    logger().log(level, message);
  } catch (...) {
    // A log line is never worth a failure.
  }
}

}  // namespace

void set_log_level(LogLevel level) noexcept {
  constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                   spdlog::level::warn, spdlog::level::err,
                                                   spdlog::level::off};
  logger().set_level(kLevels[static_cast<int>(level)]);
}

void log_debug(const std::string& message) noexcept { log(spdlog::level::debug, message); }
void log_info(const std::string& message) noexcept { log(spdlog::level::info, message); }
void log_warn(const std::string& message) noexcept { log(spdlog::level::warn, message); }
void log_error(const std::string& message) noexcept { log(spdlog::level::err, message); }

}  // namespace lockstep
