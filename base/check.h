#pragma once

namespace rangecache {
[[noreturn]] void check_failed(const char* expression, const char* file, int line);
}

/// Aborts with the expression and place when a *bug* is found. Never for input, disk or network.
#define CHECK(expr) \
  ((expr) ? static_cast<void>(0) : ::rangecache::check_failed(#expr, __FILE__, __LINE__))
