#pragma once

#include <sys/socket.h>

#include <string>

namespace rangecache::fetcher {

/// Whether no redirect may lead to this address: the link-local ones, where clouds keep their
/// metadata services and with them credentials. Looks through IPv4-mapped IPv6 addresses.
bool is_forbidden_redirect_target(const sockaddr* address);
/// The same for an address in text form ("169.254.1.1", "fe80::1"); false for anything else.
bool is_forbidden_redirect_target(const std::string& address);

}  // namespace rangecache::fetcher
