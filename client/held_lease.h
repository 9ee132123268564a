#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "client/connection.h"
#include "rangecache/client.h"

namespace rangecache::client {

/// What a LEASE or LEASE_CACHED brought: descriptors and bytes, and the promise to say when they
/// are no longer used.
struct HeldLease {
  ~HeldLease();  ///< releases without waiting

  static Result<std::unique_ptr<HeldLease>> parse(Result<Reply> reply,
                                                  const std::shared_ptr<Connection>& connection);
  static Error malformed();

  /// See Lease::pread.
  Result<std::size_t> pread(std::uint64_t offset, std::span<std::byte> buffer) const;

  std::shared_ptr<Connection> connection;
  std::uint64_t id = 0;  ///< 0: nothing to release
  std::vector<UniqueFd> fds;
  std::string reply;  ///< holds the inline bytes
  ByteRange range;
  std::vector<Lease::Slice> slices;
};

}  // namespace rangecache::client
