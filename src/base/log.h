// Log lines on stderr: level and message, coloured on a terminal. LOCKSTEP_LOG sets the lowest
// level shown: debug, info (default), warn, error or off.
#pragma once

#include <string>

namespace lockstep {

enum class LogLevel { kDebug, kInfo, kWarn, kError, kOff };

/// Replaces what LOCKSTEP_LOG said.
void set_log_level(LogLevel level) noexcept;

// A message may have several lines. A failure to write is ignored.
void log_debug(const std::string& message) noexcept;
void log_info(const std::string& message) noexcept;
void log_warn(const std::string& message) noexcept;
void log_error(const std::string& message) noexcept;

}  // namespace lockstep
