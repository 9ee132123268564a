#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "base/unique_fd.h"
#include "fuse/backend.h"
#include "rangecache/result.h"

struct fuse_custom_io;

namespace rangecache::fuse {

struct SessionOptions {
  std::string mount_point;
  std::string fs_name = "rangecache";  ///< what `mount` and `df` show as the source: the URL
  bool allow_other = false;            ///< let other users in (as non-root: needs user_allow_other)
  unsigned threads = 8;                ///< that answer requests; they never wait for an origin
  unsigned max_read_bytes = 1024 * 1024;  ///< of one request; 0: the kernel's limit
  /// Page-cache reads that the kernel has in flight. More of them wait inside the kernel, behind
  /// one another: few that hang on a silent server would stop the reads of every other file.
  unsigned max_background = 8192;
  unsigned congestion_threshold = 48;  ///< from so many on the kernel reads no further ahead
  unsigned read_ahead_kb = 1024;       ///< of the kernel; more than it offers needs root
  unsigned start_timeout_ms = 10'000;  ///< for the kernel's first request
  bool passthrough = true;             ///< the kernel reads complete files by itself where it can
  bool debug = false;                  ///< libfuse prints every request to stderr
  /// Called once, from a thread of the session, when the mount ended without unmount(): somebody
  /// ran `fusermount3 -u`. It must only post: calling unmount() from it would wait for itself.
  std::function<void()> on_exit;
};

/// One mount and the threads that serve it. Takes no signals.
///
/// Threads: "rc-fuse" (as many as asked for) take requests and answer those that need no waiting;
/// other answers are given by whoever calls the backend's callbacks. "rc-fuse-inval" tells the
/// kernel of changed names.
class Session {
 public:
  /// Mounts, as root or through fusermount3. Returns when the kernel's handshake has been answered:
  /// the mount is usable.
  static Result<std::unique_ptr<Session>> mount(std::shared_ptr<Backend> backend,
                                                SessionOptions options);

  /// Serves requests that come over `device` instead: a /dev/fuse descriptor that a former daemon
  /// left, or a test's socket (one message, one request). `io` may be null: plain read and write;
  /// it is copied. The mount itself, if any, stays as it is; options.mount_point is not used.
  static Result<std::unique_ptr<Session>> attach(std::shared_ptr<Backend> backend, UniqueFd device,
                                                 const fuse_custom_io* io, SessionOptions options);

  ~Session();  ///< unmount()s

  /// Ends the mount, busy or not, and joins the threads. Reads that still wait are cancelled and
  /// answered with EIO. No callback of the backend is waited for, and late ones do nothing.
  /// Idempotent; not from on_exit or a backend callback.
  void unmount();

  /// False once the mount was ended, by unmount() or from outside.
  bool mounted() const;

  /// The backend learned that the name of this version stands for another one now: the next open
  /// looks it up again. Handles that are open keep their version. Returns at once; any thread.
  void invalidate(const NodePtr& version);

  /// For tests and `cachectl`: what the kernel still knows and holds.
  struct Usage {
    std::size_t inodes = 0;   ///< the root included
    std::size_t handles = 0;  ///< open files and directories
    std::size_t waiting = 0;  ///< requests that the backend has not answered
    std::size_t backed = 0;   ///< open inodes that the kernel reads by itself
    bool passthrough = true;  ///< false: it was switched off, or the kernel has refused
  };
  Usage usage() const;

 private:
  class Impl;
  explicit Session(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace rangecache::fuse
