#pragma once

#include <memory>

#include "client/connection.h"
#include "rangecache/client.h"

namespace rangecache {

struct File::Impl {
  ~Impl();  ///< closes the handle without waiting

  std::shared_ptr<client::Connection> connection;  ///< null until the open was understood
  std::uint64_t handle = 0;
  ObjectInfo info;
};

struct Lease::Impl {
  ~Impl();  ///< releases without waiting

  std::shared_ptr<client::Connection> connection;
  std::uint64_t id = 0;  ///< 0: nothing to release
  std::vector<UniqueFd> fds;
  std::string reply;  ///< holds the inline bytes
  ByteRange range;
  std::vector<Slice> slices;
};

}  // namespace rangecache
