#pragma once

#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "base/unique_function.h"
#include "base/wire.h"
#include "rangecache/result.h"

namespace rangecache::client {

struct Reply {
  std::string payload;        ///< empty when the request had a destination
  std::size_t delivered = 0;  ///< bytes written to the destination
  std::vector<UniqueFd> fds;
};

/// The stream to the daemon: matches replies to requests by id. One thread reads and writes, never
/// blocked by either, so that a daemon that pushes back cannot deadlock with us. Callers send by
/// themselves when nothing is queued. Thread-safe.
class Connection {
 public:
  using Done = UniqueFunction<void(Result<Reply>)>;

  static Result<std::shared_ptr<Connection>> open(const std::string& path,
                                                  std::chrono::milliseconds timeout);
  ~Connection();

  /// Sends a request; `done` is called exactly once: on the connection's thread, or within this
  /// call if the connection is gone. A reply's bytes go to `destination` if it is not empty, which
  /// must live until then. Returns the request's id.
  std::uint64_t send(protocol::MessageType type, std::string payload, Done done,
                     std::span<std::byte> destination = {}) EXCLUDES(mu_);
  /// While one lives, what is sent is collected, to be written at once.
  class Cork {
   public:
    explicit Cork(Connection& connection);
    ~Cork();
    Cork(const Cork&) = delete;
    Cork& operator=(const Cork&) = delete;

   private:
    Connection& connection_;
  };
  /// Sends and waits. Not from the connection's own thread.
  Result<Reply> call(protocol::MessageType type, std::string payload);
  /// The request's `done` will be called with kCancelled, unless its reply is already here.
  void cancel(std::uint64_t request_id) EXCLUDES(mu_);
  /// Called on the connection's thread before each wait; returns after how many milliseconds it
  /// wants to be called at the latest, -1: whenever. Once, before the first send().
  void set_housekeeping(std::function<int()> housekeeping) EXCLUDES(mu_);
  /// Fails what is outstanding and joins the thread. Not from that thread. Idempotent.
  void close() EXCLUDES(mu_);

  const wire::Greeting& daemon() const { return daemon_; }

 private:
  struct Request {
    Done done;
    std::span<std::byte> destination;
  };
  struct Waiting {  ///< for room among the requests in flight
    std::uint64_t id;
    std::size_t bytes;  ///< asked for
    std::string frame;
  };
  struct Incoming {  ///< the frame whose payload is being received
    wire::FrameHeader header;
    Request request;
    Reply reply;
    std::byte* target = nullptr;
    std::size_t received = 0;
  };

  Connection(UniqueFd socket, UniqueFd wake, wire::Greeting daemon, std::string path);
  void run();
  bool send_queued() EXCLUDES(mu_);
  void transmit_locked(std::string frame) REQUIRES(mu_);
  void admit_waiting_locked() REQUIRES(mu_);
  bool write_locked() REQUIRES(mu_);
  void wake();

  bool receive();
  void collect_fds(msghdr& message);
  bool consume();
  bool begin_frame(const wire::FrameHeader& header);
  bool finish_frame();
  bool broken(Error error);
  void fail_all() EXCLUDES(mu_);

  const UniqueFd socket_;
  const UniqueFd wake_;
  const wire::Greeting daemon_;
  const std::string path_;

  Mutex mu_;
  std::unordered_map<std::uint64_t, Request> requests_ GUARDED_BY(mu_);
  std::deque<Waiting> waiting_ GUARDED_BY(mu_);
  std::string output_ GUARDED_BY(mu_);
  std::size_t output_sent_ GUARDED_BY(mu_) = 0;
  std::size_t in_flight_ GUARDED_BY(mu_) = 0;
  std::size_t in_flight_bytes_ GUARDED_BY(mu_) = 0;
  int corks_ GUARDED_BY(mu_) = 0;
  std::uint64_t next_id_ GUARDED_BY(mu_) = 1;
  std::optional<Error> gone_ GUARDED_BY(mu_);
  bool closing_ GUARDED_BY(mu_) = false;
  std::function<int()> housekeeping_ GUARDED_BY(mu_);  ///< set once

  // The connection's thread only.
  std::vector<char> input_;
  std::size_t input_size_ = 0;
  std::optional<Incoming> incoming_;
  std::deque<UniqueFd> fds_;  ///< received, not yet claimed by a frame
  std::optional<Error> failure_;

  Mutex join_mu_;
  std::thread thread_ GUARDED_BY(join_mu_);
};

}  // namespace rangecache::client
