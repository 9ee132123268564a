#include "daemon/socket_server.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>

#include "base/clock.h"
#include "base/log.h"

namespace rangecache::daemon {
namespace {

constexpr std::int64_t kPauseWithoutFdsMs = 100;

// sendfile(2) has no MSG_NOSIGNAL: a client that hangs up must not kill the daemon.
void block_sigpipe() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

bool may_connect(int socket) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == geteuid() || peer.uid == 0;
}

}  // namespace

Result<std::unique_ptr<SocketServer>> SocketServer::listen(std::string path, Service& service,
                                                           Metrics& metrics, Options options) {
  RC_ASSIGN(ListeningSocket socket, ListeningSocket::bind(path));
  std::unique_ptr<SocketServer> server(
      new SocketServer(std::move(path), std::move(socket), service, metrics, options));
  server->loop_->post([raw = server.get()] { raw->start(); });
  return server;
}

SocketServer::SocketServer(std::string path, ListeningSocket socket, Service& service,
                           Metrics& metrics, Options options)
    : path_(std::move(path)),
      options_(options),
      service_(service),
      counters_{metrics.counter("rangecache_socket_requests_total", "Requests on the socket."),
                metrics.counter("rangecache_socket_protocol_errors_total",
                                "Clients dropped because they broke the protocol."),
                metrics.counter("rangecache_socket_shed_total",
                                "Clients dropped because they did not greet or take replies.")},
      refused_(metrics.counter("rangecache_socket_refused_total",
                               "Connections refused: another user, or too many clients.")),
      client_count_(metrics.gauge("rangecache_socket_clients", "Clients connected now.")),
      loop_(std::make_shared<EventLoop>("rc-socket")),
      socket_(std::move(socket)) {}

SocketServer::~SocketServer() { stop(); }

void SocketServer::start() {
  block_sigpipe();
  loop_->watch(socket_.fd(), EPOLLIN, [this](std::uint32_t) { accept_clients(); });
  check_deadlines();
}

void SocketServer::stop() {
  loop_->post([this] {
    auto clients = std::move(clients_);
    clients_.clear();
    for (auto& [fd, client] : clients) client->close();
    client_count_.set(0);
    if (socket_.fd() >= 0) loop_->unwatch(socket_.fd());
    socket_.remove();
  });
  loop_->stop();
}

void SocketServer::accept_clients() {
  for (;;) {
    UniqueFd client(accept4(socket_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (client) {
      add_client(std::move(client));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN) return;
    // No descriptors: the caller stays in the queue, and the loop must not spin on it.
    log_warning("socket: cannot accept a client now (errno {}); trying again soon", errno);
    loop_->modify(socket_.fd(), 0);
    loop_->call_after_ms(kPauseWithoutFdsMs, [this] {
      if (socket_.fd() >= 0) loop_->modify(socket_.fd(), EPOLLIN);
    });
    return;
  }
}

void SocketServer::add_client(UniqueFd socket) {
  if (!may_connect(socket.get())) {
    refused_.add();
    ApiConnection::refuse(
        std::move(socket), options_.limits,
        Error{ErrorCode::kPermissionDenied, "this daemon serves only the user that it runs as"});
    return;
  }
  if (clients_.size() >= options_.max_clients) {
    refused_.add();
    ApiConnection::refuse(
        std::move(socket), options_.limits,
        Error{ErrorCode::kBusy, "the daemon has " + std::to_string(options_.max_clients) +
                                    " clients, the most allowed"});
    return;
  }
  const int fd = socket.get();
  auto client = std::make_shared<ApiConnection>(
      std::move(socket), loop_, service_, options_.limits, options_.deadlines, counters_,
      [this](int gone) {
        clients_.erase(gone);
        client_count_.set(static_cast<std::int64_t>(clients_.size()));
      });
  clients_[fd] = client;
  client_count_.set(static_cast<std::int64_t>(clients_.size()));
  client->start();
}

void SocketServer::check_deadlines() {
  const std::int64_t now_ns = system_clock().monotonic_ns();
  std::vector<std::shared_ptr<ApiConnection>> clients;  // ending one changes the map
  for (auto& [fd, client] : clients_) clients.push_back(client);
  for (auto& client : clients) client->check_deadlines(now_ns);
  const std::int64_t shortest = std::min(options_.deadlines.hello_ms, options_.deadlines.stall_ms);
  loop_->call_after_ms(std::clamp<std::int64_t>(shortest / 4, 10, 1000),
                       [this] { check_deadlines(); });
}

}  // namespace rangecache::daemon
