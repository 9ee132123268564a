#pragma once

#include <fmt/core.h>

#include <string>
#include <string_view>

#include "rangecache/result.h"

namespace rangecache {

enum class LogLevel { kTrace, kDebug, kInfo, kWarning, kError, kOff };

/// "trace", "debug", "info", "warn", "error" or "off".
Result<LogLevel> parse_log_level(std::string_view name);

/// Sets what is logged. Logs go to stderr, a line an event, until log_to_file() redirects them.
void set_log_level(LogLevel level);
bool log_enabled(LogLevel level);

/// Appends to `path` instead of stderr (for --daemonize). The file is created with mode 0600.
Result<void> log_to_file(const std::string& path);

/// Writes one line, control characters as \xNN. It names origin, key, range; never a secret.
void log_line(LogLevel level, std::string_view text);

template <typename... Args>
void log_debug(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::kDebug))
    log_line(LogLevel::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::kInfo))
    log_line(LogLevel::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::kWarning))
    log_line(LogLevel::kWarning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
  if (log_enabled(LogLevel::kError))
    log_line(LogLevel::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace rangecache
