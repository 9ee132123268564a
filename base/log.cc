#include "base/log.h"

#include <fcntl.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <cerrno>

#include "base/unique_fd.h"

namespace rangecache {
namespace {

constexpr const char* kPattern = "%Y-%m-%d %H:%M:%S.%e %^%-5l%$ %v";

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kTrace:
      return spdlog::level::trace;
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
    case LogLevel::kOff:
      return spdlog::level::off;
  }
  return spdlog::level::off;
}

std::shared_ptr<spdlog::logger> make_logger(spdlog::sink_ptr sink) {
  auto logger = std::make_shared<spdlog::logger>("rangecache", std::move(sink));
  logger->set_pattern(kPattern);
  logger->set_level(spdlog::level::info);
  logger->flush_on(spdlog::level::trace);  // a crash must not swallow the line that explains it
  return logger;
}

/// What servers say must neither begin lines of its own nor steer a terminal.
std::string one_line(std::string_view text) {
  std::string line;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f)
      line += fmt::format("\\x{:02x}", byte);
    else
      line += c;
  }
  return line;
}

std::shared_ptr<spdlog::logger>& logger() {
  static auto instance = make_logger(std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
  return instance;
}

}  // namespace

Result<LogLevel> parse_log_level(std::string_view name) {
  if (name == "trace") return LogLevel::kTrace;
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "warn") return LogLevel::kWarning;
  if (name == "error") return LogLevel::kError;
  if (name == "off") return LogLevel::kOff;
  return Error{ErrorCode::kInvalidArgument,
               fmt::format("log level '{}': use trace, debug, info, warn, error or off", name)};
}

void set_log_level(LogLevel level) { logger()->set_level(to_spdlog(level)); }

bool log_enabled(LogLevel level) { return logger()->should_log(to_spdlog(level)); }

Result<void> log_to_file(const std::string& path) {
  // spdlog would create the file with the umask's mode; ours names what a user reads.
  UniqueFd created(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!created) return Error{ErrorCode::kIo, "cannot open the log file " + path, errno};
  const auto level = logger()->level();
  logger() = make_logger(std::make_shared<spdlog::sinks::basic_file_sink_mt>(path));
  logger()->set_level(level);
  return {};
}

void log_line(LogLevel level, std::string_view text) {
  logger()->log(to_spdlog(level), "{}", one_line(text));
}

}  // namespace rangecache
