#pragma once

#include <string>

namespace rangecache {

/// Where daemon and clients meet unless told otherwise: $RANGECACHE_SOCKET; else
/// $XDG_RUNTIME_DIR/rangecache/socket; else /run/user/<uid>/rangecache/socket if that runtime
/// directory exists; else /tmp/rangecache-<uid>/socket. Also declared in rangecache/client.h.
std::string default_socket_path();

}  // namespace rangecache
