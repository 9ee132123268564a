#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "rangecache/result.h"

namespace rangecache::test {

/// A small HTTP/1.1 origin of the project's own: serves a real directory with ranges, validators,
/// conditions and index pages, as slowly as it is told. For scripts/quickstart and for tests that
/// want no other software. A thread per connection.
///
/// GET and HEAD; single ranges; strong ETags (of inode, time and size); If-Match, If-None-Match,
/// If-Range, If-Unmodified-Since, If-Modified-Since; 200, 206, 301, 304, 403, 404, 405, 412, 416.
class OriginServer {
 public:
  struct Options {
    std::string root;
    std::uint16_t port = 0;             ///< 0: a free one
    int delay_ms = 0;                   ///< before each answer: the distance
    std::uint64_t bytes_per_second = 0; ///< per connection; 0: no limit
    std::string access_log;             ///< a file; empty: none
  };
  struct Request {
    std::string method;
    std::string path;   ///< as it was sent, still encoded
    std::string range;  ///< the Range header, or empty
    int status = 0;
    std::uint64_t body_bytes = 0;
  };

  /// Listens on 127.0.0.1.
  static Result<std::unique_ptr<OriginServer>> start(Options options);
  ~OriginServer();

  std::string url() const;  ///< "http://127.0.0.1:port/"
  std::vector<Request> requests() const;
  std::uint64_t body_bytes() const { return body_bytes_; }
  /// Ends all connections and threads.
  void stop();

 private:
  struct Connection;
  explicit OriginServer(Options options);
  Result<void> listen();
  void accept_connections();
  void serve(Connection& connection);
  void note(const Request& request);

  const Options options_;
  UniqueFd listener_;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint64_t> body_bytes_{0};
  mutable Mutex mu_;
  std::vector<Request> requests_ GUARDED_BY(mu_);
  std::list<Connection> connections_ GUARDED_BY(mu_);
  std::thread acceptor_;
};

}  // namespace rangecache::test
