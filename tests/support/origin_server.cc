#include "tests/support/origin_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <utility>

#include "tests/support/origin_index.h"
#include "tests/support/origin_request.h"
#include "tests/support/synthetic.h"

namespace rangecache::test {
namespace {

constexpr std::size_t kMaxHead = 64 * 1024;
constexpr std::size_t kMaxConnections = 1024;
constexpr std::uint64_t kPiece = 256 * 1024;
constexpr int kForEver = -1;
// Long past, so that the date is a strong validator (RFC 9110 8.8.2.2).
constexpr std::time_t kSyntheticTime = 1'700'000'000;

const char* reason(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 304:
      return "Not Modified";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 412:
      return "Precondition Failed";
    case 416:
      return "Range Not Satisfiable";
    case 400:
      return "Bad Request";
    default:
      return "Scripted";
  }
}

bool send_all(int socket, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::send(socket, data.data(), data.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    data.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

Representation representation(const struct stat& status) {
  return {static_cast<std::uint64_t>(status.st_size),
          fmt::format("\"{:x}-{:x}-{:x}\"",
                      status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec,
                      status.st_size, status.st_ino),
          status.st_mtim.tv_sec};
}

}  // namespace

struct OriginServer::Connection {
  UniqueFd socket;
  std::thread thread;
  std::atomic<bool> over{false};

  /// Sends a response; false when the peer has gone.
  bool answer(int status, const std::string& headers, const std::string& body, bool head_only) {
    return send_all(
               socket.get(),
               fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\n{}Content-Length: {}\r\n\r\n", status,
                           reason(status), http_date(std::time(nullptr)), headers, body.size())) &&
           (head_only || send_all(socket.get(), body));
  }

  /// Waits for `ms`, or until the peer (or stop()) closes. False: closed.
  bool wait_ms(int ms) {
    pollfd closed{socket.get(), POLLRDHUP, 0};
    return ::poll(&closed, 1, ms) == 0;
  }

  /// Ends the connection with a reset: so connect(2) says of AF_UNSPEC. Unlike a close with
  /// SO_LINGER it leaves the descriptor to its owner.
  void reset() {
    sockaddr nowhere{};
    nowhere.sa_family = AF_UNSPEC;
    ::connect(socket.get(), &nowhere, sizeof nowhere);
  }
};

OriginServer::OriginServer(Options options) : options_(std::move(options)) {}

Result<std::unique_ptr<OriginServer>> OriginServer::start(Options options) {
  std::unique_ptr<OriginServer> server(new OriginServer(std::move(options)));
  RC_TRY(server->listen());
  server->acceptor_ = std::thread([s = server.get()] { s->accept_connections(); });
  return server;
}

Result<void> OriginServer::listen() {
  struct stat status {};
  if (!options_.root.empty() &&
      (::stat(options_.root.c_str(), &status) != 0 || !S_ISDIR(status.st_mode)))
    return Error(ErrorCode::kNotDirectory, "the root " + options_.root + " is no directory");
  listener_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const int on = 1;
  ::setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(options_.port);
  socklen_t length = sizeof address;
  if (::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(listener_.get(), 512) != 0 ||
      ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    return Error(ErrorCode::kIo, fmt::format("cannot listen on port {}", options_.port), errno);
  }
  port_ = ntohs(address.sin_port);
  return {};
}

std::string OriginServer::url() const { return fmt::format("http://127.0.0.1:{}/", port_); }

void OriginServer::accept_connections() {
  while (!stopping_) {
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!socket) continue;
    const int on = 1;
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (options_.bytes_per_second > 0) {
      // The kernel paces each connection exactly (works on loopback, without a queueing
      // discipline).
      ::setsockopt(socket.get(), SOL_SOCKET, SO_MAX_PACING_RATE, &options_.bytes_per_second,
                   sizeof options_.bytes_per_second);
    }
    MutexLock lock(mu_);
    connections_.remove_if([](Connection& connection) {
      if (connection.over) connection.thread.join();
      return connection.over.load();
    });
    if (connections_.size() >= kMaxConnections) continue;
    Connection& connection = connections_.emplace_back();
    connection.socket = std::move(socket);
    connection.thread = std::thread([this, &connection] {
      serve(connection);
      ::shutdown(connection.socket.get(), SHUT_RDWR);
      connection.over = true;
    });
  }
}

void OriginServer::serve(Connection& connection) {
  // sendfile() has no MSG_NOSIGNAL: a reader that leaves must not end the process.
  sigset_t pipe;
  sigemptyset(&pipe);
  sigaddset(&pipe, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe, nullptr);
  std::string input;
  char buffer[16 * 1024];
  while (!stopping_) {
    const auto end = input.find("\r\n\r\n");
    if (end == std::string::npos) {
      const ssize_t n = ::recv(connection.socket.get(), buffer, sizeof buffer, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0 || input.size() + static_cast<std::size_t>(n) > kMaxHead) return;
      input.append(buffer, static_cast<std::size_t>(n));
      continue;
    }
    const auto request = parse_request(std::string_view(input).substr(0, end));
    input.erase(0, end + 4);
    if (!request) return void(connection.answer(400, "", "bad request\n", false));
    if (options_.delay_ms > 0 && !connection.wait_ms(options_.delay_ms)) return;

    if (!answer(connection, *request) || request->header("connection") == "close") return;
  }
}

bool OriginServer::simple(Connection& connection, const HttpRequest& request, int status,
                          const std::string& headers, const std::string& body) {
  const bool head_only = request.method == "HEAD";
  note({request.method, request.target, request.header("range"), status,
        head_only ? 0 : body.size()});
  return connection.answer(status, headers, body, head_only);
}

bool OriginServer::answer(Connection& connection, const HttpRequest& request) {
  const std::string name = request.target.substr(0, request.target.find('?'));
  wait_at_gate(name);
  const Fault fault = next_fault(name);
  if (fault.delay_ms > 0 && !connection.wait_ms(fault.delay_ms)) return false;
  if (!fault.before.empty() && !send_all(connection.socket.get(), fault.before)) return false;
  if (fault.status) return simple(connection, request, *fault.status, fault.headers, "");
  if (request.method != "GET" && request.method != "HEAD")
    return simple(connection, request, 405, "Allow: GET, HEAD\r\n", "only GET and HEAD\n");
  if (const auto made_up = synthetic(name))
    return answer_object(connection, request, *made_up, fault);

  const auto path = path_of(request.target);
  if (!path || options_.root.empty()) return simple(connection, request, 404, "", "not found\n");
  const std::string real_path = options_.root + *path;
  Content content;
  // Not blocking: a named pipe without a writer would hold the thread.
  content.file.reset(::open(real_path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status {};
  if (!content.file && errno == EACCES) return simple(connection, request, 403, "", "forbidden\n");
  if (!content.file || ::fstat(content.file.get(), &status) != 0)
    return simple(connection, request, 404, "", "not found\n");
  if (S_ISDIR(status.st_mode)) {
    if (path->back() != '/')
      return simple(connection, request, 301, "Location: " + name + "/\r\n", "");
    return simple(connection, request, 200, "Content-Type: text/html\r\n",
                  index_page(real_path, *path));
  }
  if (!S_ISREG(status.st_mode)) return simple(connection, request, 403, "", "forbidden\n");
  content.known = representation(status);
  return answer_object(connection, request, content, fault);
}

bool OriginServer::answer_object(Connection& connection, const HttpRequest& request,
                                 const Content& content, const Fault& fault) {
  Representation known = content.known;
  if (fault.etag) known.etag = *fault.etag;
  Decision decision = decide(request, known);
  if (fault.ignore_range && (decision.status == 206 || decision.status == 416))
    decision = {200, {0, known.size}};

  std::string head =
      fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\nAccept-Ranges: bytes\r\n{}", decision.status,
                  reason(decision.status), http_date(std::time(nullptr)), fault.headers);
  if (!known.etag.empty()) head += "ETag: " + known.etag + "\r\n";
  if (!fault.no_last_modified) head += "Last-Modified: " + http_date(known.modified) + "\r\n";
  std::string content_range;
  if (decision.status == 206) {
    content_range =
        fmt::format("bytes {}-{}/{}", decision.body.begin, decision.body.end - 1, known.size);
  } else if (decision.status == 416) {
    content_range = fmt::format("bytes */{}", known.size);
  }
  if (!content_range.empty() && fault.content_range) content_range = *fault.content_range;
  if (!content_range.empty()) head += "Content-Range: " + content_range + "\r\n";
  if (decision.status != 304) {
    head += fmt::format("Content-Type: application/octet-stream\r\nContent-Length: {}\r\n",
                        decision.body.size());
  }

  const Request noted{request.method, request.target, request.header("range"), decision.status, 0};
  if (request.method == "HEAD" || decision.body.empty()) {
    note(noted);
    return send_all(connection.socket.get(), head + "\r\n");
  }
  return send_all(connection.socket.get(), head + "\r\n") &&
         send_body(connection, content, decision.body, fault, noted);
}

bool OriginServer::send_body(Connection& connection, const Content& content, ByteRange body,
                             const Fault& fault, Request noted) {
  const bool stops = fault.stop_after && *fault.stop_after < body.size();
  const std::uint64_t end = stops ? body.begin + *fault.stop_after : body.end;
  std::array<std::byte, 64 * 1024> words;
  std::uint64_t at = body.begin;
  bool is_noted = false;
  const std::uint64_t trickle_end =
      std::min(end, at + static_cast<std::uint64_t>(fault.trickle_ms));
  for (; at < trickle_end && !content.file; ++at) {
    std::byte byte;
    fill_synthetic(content.key, content.version, at, {&byte, 1});
    if (!connection.wait_ms(1) ||
        !send_all(connection.socket.get(), {reinterpret_cast<const char*>(&byte), 1}))
      return false;
  }
  while (at < end) {
    const std::uint64_t piece =
        std::min<std::uint64_t>(content.file ? kPiece : words.size(), end - at);
    if (at + piece == end && !is_noted) {
      noted.body_bytes = end - body.begin;
      note(noted);
      is_noted = true;
    }
    if (content.file) {
      off_t from = static_cast<off_t>(at);
      const ssize_t n = ::sendfile(connection.socket.get(), content.file.get(), &from, piece);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) break;
      at += static_cast<std::uint64_t>(n);
    } else {
      const auto part = std::span(words).first(piece);
      fill_synthetic(content.key, content.version, at, part);
      if (!send_all(connection.socket.get(),
                    {reinterpret_cast<const char*>(part.data()), part.size()}))
        break;
      at += piece;
    }
  }
  if (!is_noted) {
    noted.body_bytes = at - body.begin;
    note(noted);
  }
  if (at < end) return false;
  if (!stops) return true;
  if (fault.then == Fault::Then::kStall) connection.wait_ms(kForEver);
  if (fault.then == Fault::Then::kReset) connection.reset();
  return false;
}

void OriginServer::put(const std::string& path, std::uint64_t size, std::uint32_t version) {
  MutexLock lock(mu_);
  synthetic_[path] = {size, version};
}

std::optional<OriginServer::Content> OriginServer::synthetic(const std::string& path) {
  MutexLock lock(mu_);
  const auto found = synthetic_.find(path);
  if (found == synthetic_.end()) return std::nullopt;
  const auto& [size, version] = found->second;
  return Content{UniqueFd(),
                 path,
                 version,
                 {size, fmt::format("\"v{}-{}\"", version, size), kSyntheticTime + version}};
}

void OriginServer::add_fault(const std::string& path, Fault fault) {
  MutexLock lock(mu_);
  faults_[path].push_back(std::move(fault));
}

void OriginServer::spoil(std::uint32_t one_in, int patience_ms, std::uint64_t seed) {
  MutexLock lock(mu_);
  spoil_one_in_ = one_in;
  spoil_patience_ms_ = patience_ms;
  random_.seed(seed);
}

void OriginServer::clear_faults() {
  MutexLock lock(mu_);
  faults_.clear();
}

Fault OriginServer::next_fault(const std::string& path) {
  MutexLock lock(mu_);
  const auto found = faults_.find(path);
  if (found == faults_.end() || found->second.empty())
    return spoil_one_in_ != 0 && random_() % spoil_one_in_ == 0
               ? random_fault(random_, spoil_patience_ms_)
               : Fault{};
  const Fault fault = found->second.front();
  if (fault.times != Fault::kAlways && --found->second.front().times <= 0)
    found->second.pop_front();
  return fault;
}

void OriginServer::hold(const std::string& path) {
  MutexLock lock(mu_);
  gates_.try_emplace(path, 0);
}

void OriginServer::release(const std::string& path) {
  MutexLock lock(mu_);
  gates_.erase(path);
  gates_changed_.notify_all();
}

void OriginServer::wait_at_gate(const std::string& path) {
  MutexLock lock(mu_);
  const auto gate = gates_.find(path);
  if (gate == gates_.end()) return;
  ++gate->second;
  gates_changed_.notify_all();
  while (!stopping_ && gates_.count(path) != 0) gates_changed_.wait(mu_);
}

bool OriginServer::wait_for_held(const std::string& path, std::size_t count) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  MutexLock lock(mu_);
  while (true) {
    const auto gate = gates_.find(path);
    if (gate != gates_.end() && gate->second >= count) return true;
    if (std::chrono::steady_clock::now() >= deadline) return false;
    gates_changed_.wait_for(mu_, std::chrono::milliseconds(100));
  }
}

void OriginServer::note(const Request& request) {
  body_bytes_ += request.body_bytes;
  MutexLock lock(mu_);
  requests_.push_back(request);
  if (options_.access_log.empty()) return;
  if (std::FILE* log = std::fopen(options_.access_log.c_str(), "ae")) {
    fmt::print(log, "{}\t{}\t{}\t{}\t{}\n", request.status, request.method, request.path,
               request.range.empty() ? "-" : request.range, request.body_bytes);
    std::fclose(log);
  }
}

std::vector<OriginServer::Request> OriginServer::requests() const {
  MutexLock lock(mu_);
  return requests_;
}

void OriginServer::stop() {
  if (stopping_.exchange(true)) return;
  ::shutdown(listener_.get(), SHUT_RDWR);
  if (acceptor_.joinable()) acceptor_.join();
  std::list<Connection> connections;
  {
    MutexLock lock(mu_);
    connections.swap(connections_);
    gates_changed_.notify_all();
  }
  for (Connection& connection : connections) ::shutdown(connection.socket.get(), SHUT_RDWR);
  for (Connection& connection : connections) connection.thread.join();
}

OriginServer::~OriginServer() { stop(); }

}  // namespace rangecache::test
