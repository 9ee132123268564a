#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <unordered_map>

#include "base/event_loop.h"
#include "base/read_ticket.h"
#include "daemon/api_output.h"
#include "daemon/service.h"

namespace rangecache::daemon {

/// What one client may hold at a time.
struct ClientLimits {
  std::uint32_t in_flight = 256;  ///< requests; beyond it none is read until some are answered
  std::uint32_t handles = 4096;
  std::uint32_t leases = 1024;
  /// Bytes of data asked for and not taken yet: beyond it no more requests are read.
  std::uint64_t backlog_bytes = protocol::kMaxInFlightBytes + 1024 * 1024;  ///< and replies' heads
};

/// What one client has open and asked for: turns its requests into Service calls, and their
/// results into frames. Owned by an ApiConnection. Loop thread only; results that come on other
/// threads are posted to the loop, and dropped there if the session has gone.
class Session : public std::enable_shared_from_this<Session> {
 public:
  using Send = UniqueFunction<void(OutgoingFrame)>;
  /// `send` is called on the loop's thread, possibly from within handle(), not after close().
  Session(std::shared_ptr<EventLoop> loop, Service& service, ClientLimits limits, Send send);

  /// Serves one request. An error is a breach of the protocol: tell the client and hang up.
  Result<void> handle(const wire::FrameHeader& header, std::string_view payload);
  std::size_t in_flight() const { return requests_.size(); }
  /// Of the reads under way, in bytes asked for.
  std::uint64_t in_flight_bytes() const { return in_flight_bytes_; }
  /// Cancels the reads, drops handles and leases. Idempotent.
  void close();

 private:
  /// Where an answer goes.
  struct Address {
    protocol::MessageType type;
    std::uint64_t id;
  };
  struct Request {
    std::uint64_t serial;  ///< tells a late result from a new request of the same id
    protocol::MessageType type;
    std::uint64_t cost_bytes;
    ReadTicket ticket;
  };

  Result<void> dispatch(Address to, wire::Reader& in);
  Result<void> dispatch_admin(Address to, wire::Reader& in);
  void open(Address to, std::string url);
  void close_handle(Address to, std::uint64_t handle);
  void read(Address to, std::uint64_t handle, std::uint64_t offset, std::uint32_t length);
  void lease(Address to, std::uint64_t handle, std::uint64_t offset, std::uint32_t length);
  void lease_cached(Address to, std::uint64_t handle, std::uint64_t offset);
  bool may_lease(Address to);
  void release(Address to, std::uint64_t lease);
  void cancel(std::uint64_t id);

  /// Notes a request that is answered later.
  void begin(Address to, std::uint64_t cost_bytes = 0);
  /// Ends it. False if it has ended already: its result came too late.
  bool end(std::uint64_t id, std::uint64_t serial);
  /// A callback that brings a result to the loop and there, if the request still waits, hands it
  /// to `reply(session, address, value)` or answers with its error.
  template <typename T, typename Reply>
  Callback<T> answer(Address to, Reply reply);
  template <typename T, typename Reply>
  void finish(Address to, std::uint64_t serial, Result<T> result, Reply& reply);
  /// For results that travel as wire::put() writes them.
  template <typename T>
  Callback<T> answer_with_value(Address to);

  std::shared_ptr<OpenFile> find_handle(Address to, std::uint64_t handle);
  void start_read(Address to, const std::shared_ptr<OpenFile>& file, ByteRange range,
                  Callback<Slices> done);
  void send_lease(Address to, std::uint64_t offset, Slices slices);
  void send_reply(Address to, std::string head, Slices body = {});
  void send_error(Address to, const Error& error);

  const std::shared_ptr<EventLoop> loop_;
  Service& service_;
  const ClientLimits limits_;
  Send send_;
  bool closed_ = false;
  std::uint64_t next_serial_ = 1;
  std::uint64_t next_handle_ = 1;
  std::uint64_t next_lease_ = 1;
  std::uint64_t in_flight_bytes_ = 0;
  std::size_t opens_in_flight_ = 0;  ///< count as handles, so that pipelining cannot pass the limit
  std::unordered_map<std::uint64_t, Request> requests_;
  std::unordered_map<std::uint64_t, std::shared_ptr<OpenFile>> handles_;
  std::unordered_map<std::uint64_t, Slices> leases_;
};

}  // namespace rangecache::daemon
