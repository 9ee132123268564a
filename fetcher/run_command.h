#pragma once

#include <chrono>
#include <string>

#include "rangecache/result.h"

namespace rangecache::fetcher {

/// Runs `command` in a shell and gives what it wrote to its standard output. Blocks, at most
/// `patience`: then the command and its children are killed (kTimedOut). kInvalidArgument: it
/// cannot be started, or ends with anything but 0; the text says how, not what it wrote.
Result<std::string> run_command(const std::string& command, std::chrono::milliseconds patience);

}  // namespace rangecache::fetcher
