#include "fetcher/redirect_guard.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <cstring>

namespace rangecache::fetcher {
namespace {

bool is_forbidden(const in_addr& address) {
  return (ntohl(address.s_addr) >> 16) == 0xA9FE;  // 169.254.0.0/16
}

bool is_forbidden(const in6_addr& address) {
  if (IN6_IS_ADDR_V4MAPPED(&address)) {
    in_addr mapped{};
    std::memcpy(&mapped, address.s6_addr + 12, sizeof mapped);
    return is_forbidden(mapped);
  }
  // fd00:ec2::254, where one cloud answers over IPv6.
  constexpr unsigned char kMetadata[16] = {0xfd, 0, 0x0e, 0xc2, 0, 0, 0,    0,
                                           0,    0, 0,    0,    0, 0, 0x02, 0x54};
  return IN6_IS_ADDR_LINKLOCAL(&address) || std::memcmp(&address, kMetadata, 16) == 0;
}

}  // namespace

bool is_forbidden_redirect_target(const sockaddr* address) {
  if (address->sa_family == AF_INET)
    return is_forbidden(reinterpret_cast<const sockaddr_in*>(address)->sin_addr);
  if (address->sa_family == AF_INET6)
    return is_forbidden(reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
  return false;
}

bool is_forbidden_redirect_target(const std::string& address) {
  in_addr v4{};
  if (inet_pton(AF_INET, address.c_str(), &v4) == 1) return is_forbidden(v4);
  in6_addr v6{};
  if (inet_pton(AF_INET6, address.c_str(), &v6) == 1) return is_forbidden(v6);
  return false;
}

}  // namespace rangecache::fetcher
