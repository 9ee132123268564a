#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "cache/cache.h"
#include "daemon/origin_tables.h"
#include "fetcher/origins.h"
#include "rangecache/result.h"

namespace rangecache::daemon {

/// What the command line and the config file say, checked and with the defaults filled in.
struct Config {
  cache::CacheOptions cache;
  fetcher::OriginOptions each_origin;
  std::vector<OriginTable> origins;  ///< that differ
  std::string socket_path;
  LogLevel log_level = LogLevel::kInfo;
  std::string log_file;  ///< empty: stderr
  bool daemonize = false;
  bool allow_other = false;
  bool passthrough = true;  ///< the kernel reads complete files by itself where it can
  std::string url;          ///< empty: no mount at start
  std::string urls_file;    ///< a list of URLs to mount instead of `url`
  std::string mountpoint;
};

/// What parse_command_line() came to: a config, or an exit (help, version, wrong usage) whose
/// text was printed already.
struct CommandLine {
  std::optional<Config> config;
  int exit_code = 0;
};

/// Reads the arguments and the file that --config names. Options and keys have the same names;
/// the command line wins. Prints help and errors itself.
CommandLine parse_command_line(int argc, const char* const* argv);

}  // namespace rangecache::daemon
