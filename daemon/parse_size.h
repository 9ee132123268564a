#pragma once

#include <cstdint>
#include <string>

#include "rangecache/result.h"

namespace rangecache::daemon {

/// "64MiB", "1.5G", "10000000": a size in bytes. K, M, G and T are powers of 1024 (KB is 1000).
Result<std::uint64_t> parse_size(const std::string& text);

}  // namespace rangecache::daemon
