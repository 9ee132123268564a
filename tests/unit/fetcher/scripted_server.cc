#include "scripted_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/check.h"

namespace rangecache::fetcher {
namespace {

ScriptedServer::Request parse_request(const std::string& head, int connection) {
  ScriptedServer::Request request;
  request.connection = connection;
  std::size_t begin = head.find("\r\n");
  const std::string line = head.substr(0, begin);
  const std::size_t space = line.find(' ');
  request.method = line.substr(0, space);
  request.target = line.substr(space + 1, line.rfind(' ') - space - 1);
  while (begin != std::string::npos) {
    begin += 2;
    const std::size_t end = head.find("\r\n", begin);
    const std::string field = head.substr(begin, end - begin);
    std::string name = field.substr(0, field.find(':'));
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    if (field.size() > name.size() + 2) request.headers[name] = field.substr(name.size() + 2);
    begin = end;
  }
  return request;
}

}  // namespace

ScriptedServer::ScriptedServer(std::vector<Reply> script)
    : script_(std::move(script)),
      listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
      wake_(eventfd(0, EFD_CLOEXEC)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  CHECK(bind(listener_.get(), generic, sizeof address) == 0 && listen(listener_.get(), 64) == 0);
  socklen_t length = sizeof address;
  CHECK(getsockname(listener_.get(), generic, &length) == 0);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { run(); });
}

ScriptedServer::~ScriptedServer() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  CHECK(eventfd_write(wake_.get(), 1) == 0);
  thread_.join();
}

std::string ScriptedServer::url(const std::string& path) const {
  return "http://127.0.0.1:" + std::to_string(port_) + path;
}

std::vector<ScriptedServer::Request> ScriptedServer::requests() const {
  MutexLock lock(mu_);
  return requests_;
}

bool ScriptedServer::wait_for_requests(std::size_t count) const {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  MutexLock lock(mu_);
  while (requests_.size() < count) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    changed_.wait_for(mu_, std::chrono::seconds(1));
  }
  return true;
}

void ScriptedServer::release() {
  {
    MutexLock lock(mu_);
    released_ = true;
  }
  CHECK(eventfd_write(wake_.get(), 1) == 0);
}

void ScriptedServer::run() {
  for (int accepted = 0;;) {
    std::vector<pollfd> polled = {{wake_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    for (const Connection& connection : connections_)
      polled.push_back({connection.fd.get(), POLLIN, 0});
    CHECK(poll(polled.data(), polled.size(), -1) > 0);
    bool released = false;
    {
      MutexLock lock(mu_);
      if (stopping_) return;
      released = released_;
    }
    eventfd_t ignored = 0;
    if (polled[0].revents) eventfd_read(wake_.get(), &ignored);
    for (std::size_t i = connections_.size(); i-- > 0;) {
      Connection& connection = connections_[i];
      bool open = polled[i + 2].revents == 0 || read_from(connection);
      while (open && released && !connection.held.empty()) {
        const Reply reply = std::move(connection.held.front());
        connection.held.erase(connection.held.begin());
        open = send(connection, reply);
      }
      if (!open) connections_.erase(connections_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (polled[1].revents) {
      UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (fd) connections_.push_back({std::move(fd), ++accepted, "", {}});
    }
  }
}

bool ScriptedServer::read_from(Connection& connection) {
  char buffer[16384];
  const ssize_t got = recv(connection.fd.get(), buffer, sizeof buffer, 0);
  if (got <= 0) return false;
  connection.input.append(buffer, static_cast<std::size_t>(got));
  for (std::size_t end; (end = connection.input.find("\r\n\r\n")) != std::string::npos;) {
    Request request = parse_request(connection.input.substr(0, end), connection.number);
    connection.input.erase(0, end + 4);
    std::size_t index = 0;
    bool released = false;
    {
      MutexLock lock(mu_);
      index = requests_.size();
      requests_.push_back(std::move(request));
      released = released_;
    }
    changed_.notify_all();
    Reply reply{http_reply("500 The script has ended", {}, ""), Reply::Then::kClose, false};
    if (index < script_.size()) reply = script_[index];
    if (reply.held && !released)
      connection.held.push_back(reply);
    else if (!send(connection, reply))
      return false;
  }
  return true;
}

bool ScriptedServer::send(Connection& connection, const Reply& reply) {
  for (std::size_t sent = 0; sent < reply.bytes.size();) {
    const ssize_t n = ::send(connection.fd.get(), reply.bytes.data() + sent,
                             reply.bytes.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<std::size_t>(n);
  }
  if (reply.then == Reply::Then::kReset) {
    const linger now{1, 0};
    setsockopt(connection.fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  }
  return reply.then == Reply::Then::kKeep;
}

std::string http_reply(const std::string& status, const std::vector<std::string>& headers,
                       const std::string& body) {
  std::string text = "HTTP/1.1 " + status + "\r\n";
  bool has_length = false;
  for (const std::string& header : headers) {
    text += header + "\r\n";
    has_length = has_length || header.rfind("Content-Length", 0) == 0 ||
                 header.rfind("Transfer-Encoding", 0) == 0 || header == "Connection: close";
  }
  if (!has_length) text += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  return text + "\r\n" + body;
}

}  // namespace rangecache::fetcher
