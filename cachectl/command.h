#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

#include "rangecache/client.h"

namespace rangecache::cachectl {

/// Exit codes, as --help names them.
enum ExitCode { kOk = 0, kFailed = 1, kUsage = 2, kNoDaemon = 3 };

/// What the commands share: the way to the daemon, and the end result.
struct Context {
  std::string socket_path;  ///< empty: the default
  int exit_code = kOk;

  /// Connects and runs `action`; an error of either is printed as "cachectl: <what>: <why>".
  void run(const char* what, const std::function<Result<void>(Client&)>& action);
};

// One file per command group declares its commands.
void add_look_commands(CLI::App& app, Context& context);   // stats, ls, map, stat, ping
void add_steer_commands(CLI::App& app, Context& context);  // evict, verify, mount, unmount, shutdown
void add_pin_commands(CLI::App& app, Context& context);    // pin, unpin, pins
void add_data_commands(CLI::App& app, Context& context);   // cat

}  // namespace rangecache::cachectl
