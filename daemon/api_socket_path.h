#pragma once

#include <sys/types.h>

#include <string>

#include "base/unique_fd.h"
#include "rangecache/result.h"

namespace rangecache::daemon {

/// A Unix socket that listens at a path which only its owner can reach. Removes the path when it
/// goes, unless another has taken its place.
class ListeningSocket {
 public:
  /// Makes the directory (0700) if it is missing, refuses one that others could have prepared,
  /// removes a socket that nobody answers at, and binds with mode 0600 from the first instant.
  /// kBusy: a daemon answers there, or something that is not a socket is in the way.
  /// kPermissionDenied: directory or path belong to another user, or are a symlink.
  static Result<ListeningSocket> bind(const std::string& path);

  ListeningSocket(ListeningSocket&&) = default;
  ListeningSocket& operator=(ListeningSocket&&) = default;
  ~ListeningSocket() { remove(); }

  int fd() const { return socket_.get(); }
  void remove();  ///< stops listening and unlinks; idempotent

 private:
  ListeningSocket(UniqueFd directory, std::string name, UniqueFd socket, ino_t inode)
      : directory_(std::move(directory)),
        name_(std::move(name)),
        socket_(std::move(socket)),
        inode_(inode) {}

  UniqueFd directory_;
  std::string name_;
  UniqueFd socket_;
  ino_t inode_ = 0;
};

}  // namespace rangecache::daemon
