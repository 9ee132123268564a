#pragma once

#include <chrono>
#include <string>

#include "base/unique_fd.h"
#include "base/wire.h"

namespace rangecache::client {

struct Greeted {
  UniqueFd socket;
  wire::Greeting daemon;
};

/// Connects, makes sure that the daemon is this user's or root's, and exchanges greetings.
Result<Greeted> connect_and_greet(const std::string& path, std::chrono::milliseconds timeout);

}  // namespace rangecache::client
