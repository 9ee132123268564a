#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

#include "base/event_loop.h"
#include "base/metrics.h"
#include "daemon/api_connection.h"
#include "daemon/api_socket_path.h"
#include "daemon/service.h"

namespace rangecache::daemon {

/// Serves the socket API (docs/PROTOCOL.md) on one thread, "rc-socket". Only peers of the daemon's
/// own uid, or root, are served. The service and the metrics must outlive the server; results
/// that the service delivers after stop() are dropped.
class SocketServer {
 public:
  struct Options {
    ClientLimits limits;
    ApiConnection::Deadlines deadlines;
    std::uint32_t max_clients = 256;
  };

  /// See ListeningSocket::bind() for the errors.
  static Result<std::unique_ptr<SocketServer>> listen(std::string path, Service& service,
                                                      Metrics& metrics, Options options);
  static Result<std::unique_ptr<SocketServer>> listen(std::string path, Service& service,
                                                      Metrics& metrics) {
    return listen(std::move(path), service, metrics, Options());
  }
  ~SocketServer();

  /// Ends all connections and removes the socket. Any thread but the server's own; idempotent.
  void stop();
  const std::string& path() const { return path_; }

 private:
  SocketServer(std::string path, ListeningSocket socket, Service& service, Metrics& metrics,
               Options options);
  void start();
  void accept_clients();
  void add_client(UniqueFd socket);
  void check_deadlines();

  const std::string path_;
  const Options options_;
  Service& service_;
  ApiCounters counters_;
  Counter& refused_;
  Gauge& client_count_;
  const std::shared_ptr<EventLoop> loop_;  // shared: callbacks of the service may outlive us

  // Loop thread only, from here on.
  ListeningSocket socket_;
  std::unordered_map<int, std::shared_ptr<ApiConnection>> clients_;  ///< by descriptor
};

}  // namespace rangecache::daemon
