#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/event_loop.h"
#include "base/metrics.h"
#include "base/unique_fd.h"
#include "daemon/api_output.h"
#include "daemon/handlers.h"

namespace rangecache::daemon {

/// The numbers that the connections of one server share.
struct ApiCounters {
  Counter& requests;
  Counter& protocol_errors;
  Counter& shed;
};

/// One client's stream: cuts it into frames, gives them to the session, writes what comes back.
/// Owned by the SocketServer; loop thread only.
class ApiConnection : public std::enable_shared_from_this<ApiConnection> {
 public:
  /// Deadlines in milliseconds.
  struct Deadlines {
    std::int64_t hello_ms = 5'000;
    std::int64_t stall_ms = 30'000;
  };
  using Closed = UniqueFunction<void(int fd)>;

  /// `closed` is called once, when the connection has ended by itself; not after close().
  ApiConnection(UniqueFd socket, std::shared_ptr<EventLoop> loop, Service& service,
                const ClientLimits& limits, const Deadlines& deadlines, ApiCounters counters,
                Closed closed);
  ~ApiConnection();

  /// Greets, and from then on serves. Needs the object in a shared_ptr.
  void start();
  /// Writes what can be written at once and ends the connection.
  void close();
  /// Ends a client that has not greeted in time, or takes nothing although there is something.
  void check_deadlines(std::int64_t now_ns);

  /// Best effort, without waiting: tells a peer that is not served why, and hangs up.
  static void refuse(UniqueFd socket, const ClientLimits& limits, const Error& why);

 private:
  void on_events(std::uint32_t events);
  bool receive();        ///< false: the peer is gone
  void serve_input();    ///< frames that are complete, as far as the limits allow
  bool take_greeting();  ///< false: not yet complete
  bool take_frame();
  void on_frame_from_session(OutgoingFrame frame);
  void fail(std::uint64_t request_id, const Error& error);
  void flush();
  void settle();  ///< after anything happened: write, go on, choose what to wait for
  void end();
  bool has_room() const;
  std::string_view unread() const { return std::string_view(input_).substr(consumed_); }

  UniqueFd socket_;
  const std::shared_ptr<EventLoop> loop_;
  const ClientLimits limits_;
  const Deadlines deadlines_;
  ApiCounters counters_;
  Closed closed_;
  std::shared_ptr<Session> session_;
  OutputQueue output_;
  std::string input_;
  std::size_t consumed_ = 0;  ///< of input_
  bool greeted_ = false;
  bool serving_ = false;  ///< serve_input() is on the stack: it settles for those it calls
  bool ending_ = false;   ///< take nothing more; end when the output is drained
  bool ended_ = false;
  std::uint32_t interest_ = 0;
  std::int64_t started_ns_ = 0;
  std::int64_t progress_ns_ = 0;  ///< when the client last took something, or had all
};

}  // namespace rangecache::daemon
