#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "rangecache/result.h"
#include "tests/support/origin_fault.h"
#include "tests/support/origin_request.h"

namespace rangecache::test {

/// A small HTTP/1.1 origin of the project's own: serves a real directory with ranges, validators,
/// conditions and index pages, as slowly as it is told. For scripts/quickstart and for tests that
/// want no other software. Also serves synthetic objects (synthetic.h) and spoils answers on
/// demand. A thread per connection, so many at most. All methods may be called from any thread.
///
/// GET and HEAD; single ranges; strong ETags (of inode, time and size); If-Match, If-None-Match,
/// If-Range, If-Unmodified-Since, If-Modified-Since; 200, 206, 301, 304, 403, 404, 405, 412, 416.
class OriginServer {
 public:
  struct Options {
    std::string root;                    ///< may be empty: synthetic objects only
    std::uint16_t port = 0;              ///< 0: a free one
    int delay_ms = 0;                    ///< before each answer: the distance
    std::uint64_t bytes_per_second = 0;  ///< per connection; 0: no limit
    std::string access_log;              ///< a file; empty: none
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
  /// What was answered. A request is there before the last bytes of its answer leave, so a client
  /// that has its whole answer finds it.
  std::vector<Request> requests() const EXCLUDES(mu_);
  std::uint64_t body_bytes() const { return body_bytes_; }

  // Paths below are as a request names them, encoded: "/big%20file".

  /// Serves a synthetic object at `path`, its key, or the next version of one.
  void put(const std::string& path, std::uint64_t size, std::uint32_t version = 1) EXCLUDES(mu_);
  /// Spoils answers for `path`. Faults of one path are used up one after the other.
  void add_fault(const std::string& path, Fault fault) EXCLUDES(mu_);
  void clear_faults() EXCLUDES(mu_);
  /// From now on every `one_in`-th answer, at random, is spoilt by random_fault(); 0: none.
  void spoil(std::uint32_t one_in, int patience_ms, std::uint64_t seed) EXCLUDES(mu_);

  /// From now on requests for `path` wait unanswered, until release().
  void hold(const std::string& path) EXCLUDES(mu_);
  void release(const std::string& path) EXCLUDES(mu_);
  /// Waits until `count` requests are held at `path`; false after ten seconds.
  bool wait_for_held(const std::string& path, std::size_t count) EXCLUDES(mu_);

  /// Ends all connections and threads.
  void stop();

 private:
  struct Connection;
  /// What a target names: one of a file (or directory) on disk, or a synthetic object.
  struct Content {
    UniqueFd file;
    std::string key;
    std::uint32_t version = 0;
    Representation known;
  };

  explicit OriginServer(Options options);
  Result<void> listen();
  void accept_connections() EXCLUDES(mu_);
  // These return false when the connection is to be closed.
  void serve(Connection& connection);
  bool answer(Connection& connection, const HttpRequest& request);
  bool answer_object(Connection& connection, const HttpRequest& request, const Content& content,
                     const Fault& fault);
  bool send_body(Connection& connection, const Content& content, ByteRange body, const Fault& fault,
                 Request noted);
  bool simple(Connection& connection, const HttpRequest& request, int status,
              const std::string& headers, const std::string& body);

  std::optional<Content> synthetic(const std::string& path) EXCLUDES(mu_);
  Fault next_fault(const std::string& path) EXCLUDES(mu_);
  void wait_at_gate(const std::string& path) EXCLUDES(mu_);
  void note(const Request& request) EXCLUDES(mu_);

  struct Synthetic {
    std::uint64_t size = 0;
    std::uint32_t version = 0;
  };

  const Options options_;
  UniqueFd listener_;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint64_t> body_bytes_{0};
  mutable Mutex mu_;
  CondVar gates_changed_;
  std::vector<Request> requests_ GUARDED_BY(mu_);
  std::list<Connection> connections_ GUARDED_BY(mu_);
  std::map<std::string, Synthetic> synthetic_ GUARDED_BY(mu_);
  std::map<std::string, std::list<Fault>> faults_ GUARDED_BY(mu_);
  std::uint32_t spoil_one_in_ GUARDED_BY(mu_) = 0;
  int spoil_patience_ms_ GUARDED_BY(mu_) = 0;
  std::mt19937_64 random_ GUARDED_BY(mu_);
  std::map<std::string, std::size_t> gates_ GUARDED_BY(mu_);  ///< how many are held at each
  std::thread acceptor_;
};

}  // namespace rangecache::test
