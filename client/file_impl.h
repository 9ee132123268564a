#pragma once

#include <memory>

#include "client/connection.h"
#include "client/kept_leases.h"
#include "rangecache/client.h"

namespace rangecache {

struct File::Impl {
  ~Impl();  ///< closes the handle without waiting

  /// What of the buffer lies within the object.
  std::span<std::byte> within(std::uint64_t offset, std::span<std::byte> buffer) const;
  /// Reads by message. The buffer lies within the object and is not empty.
  PendingRead ask(std::uint64_t offset, std::span<std::byte> buffer, ReadCallback callback);

  /// Of the range, at least its first byte, fetched if need be.
  Result<std::unique_ptr<client::HeldLease>> lease(ByteRange wanted) const;
  /// What stands in files around `offset`; if nothing does, as lease({offset, end}).
  Result<std::unique_ptr<client::HeldLease>> lease_around(std::uint64_t offset,
                                                          std::uint64_t end) const;

  std::shared_ptr<client::Connection> connection;  ///< null until the open was understood
  std::uint64_t handle = 0;
  std::shared_ptr<client::KeptLeases> leases;
  ObjectInfo info;
};

}  // namespace rangecache
