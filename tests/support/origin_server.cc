#include "tests/support/origin_server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <utility>

#include "tests/support/origin_request.h"

namespace rangecache::test {
namespace {

constexpr std::size_t kMaxHead = 64 * 1024;

const char* reason(int status) {
  switch (status) {
    case 200: return "OK";
    case 206: return "Partial Content";
    case 301: return "Moved Permanently";
    case 304: return "Not Modified";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 412: return "Precondition Failed";
    case 416: return "Range Not Satisfiable";
    default: return "Bad Request";
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
          fmt::format("\"{:x}-{:x}-{:x}\"", status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec,
                      status.st_size, status.st_ino),
          status.st_mtim.tv_sec};
}

/// A page as nginx's autoindex makes it, with exact sizes.
std::string index_page(const std::string& directory, const std::string& shown) {
  std::vector<std::pair<std::string, struct stat>> entries;
  if (DIR* stream = ::opendir(directory.c_str())) {
    while (const dirent* entry = ::readdir(stream)) {
      struct stat status {};
      if (entry->d_name[0] == '.' || ::fstatat(::dirfd(stream), entry->d_name, &status, 0) != 0)
        continue;
      entries.emplace_back(entry->d_name, status);
    }
    ::closedir(stream);
  }
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    const bool a_dir = S_ISDIR(a.second.st_mode), b_dir = S_ISDIR(b.second.st_mode);
    return a_dir != b_dir ? a_dir : a.first < b.first;
  });
  const std::string title = "Index of " + html_escape(shown);
  std::string page = "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<h1>" + title +
                     "</h1><hr><pre><a href=\"../\">../</a>\r\n";
  for (const auto& [name, status] : entries) {
    const bool is_directory = S_ISDIR(status.st_mode);
    std::tm utc{};
    gmtime_r(&status.st_mtim.tv_sec, &utc);
    char date[40];
    std::strftime(date, sizeof date, "%d-%b-%Y %H:%M", &utc);
    const char* slash = is_directory ? "/" : "";
    page += fmt::format("<a href=\"{}{}\">{}{}</a> {} {:>19}\r\n", url_encode(name), slash,
                        html_escape(name), slash, date,
                        is_directory ? std::string("-") : std::to_string(status.st_size));
  }
  return page + "</pre><hr></body>\r\n</html>\r\n";
}

}  // namespace

struct OriginServer::Connection {
  UniqueFd socket;
  std::thread thread;
  std::atomic<bool> over{false};

  /// Sends a response; false when the peer has gone.
  bool answer(int status, const std::string& headers, const std::string& body, bool head_only) {
    return send_all(socket.get(),
                    fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\n{}Content-Length: {}\r\n\r\n", status,
                                reason(status), http_date(std::time(nullptr)), headers, body.size())) &&
           (head_only || send_all(socket.get(), body));
  }

  /// Waits for `ms`, or until the peer (or stop()) closes. False: closed.
  bool wait_ms(int ms) {
    pollfd closed{socket.get(), POLLRDHUP, 0};
    return ::poll(&closed, 1, ms) == 0;
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
  if (::stat(options_.root.c_str(), &status) != 0 || !S_ISDIR(status.st_mode))
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
      // The kernel paces each connection exactly (works on loopback, without a queueing discipline).
      ::setsockopt(socket.get(), SOL_SOCKET, SO_MAX_PACING_RATE, &options_.bytes_per_second,
                   sizeof options_.bytes_per_second);
    }
    MutexLock lock(mu_);
    connections_.remove_if([](Connection& connection) {
      if (connection.over) connection.thread.join();
      return connection.over.load();
    });
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

    Request noted{request->method, request->target, request->header("range"), 0, 0};
    const bool head_only = request->method == "HEAD";
    const auto simple = [&](int status, const std::string& headers, const std::string& body) {
      noted.status = status;
      noted.body_bytes = head_only ? 0 : body.size();
      note(noted);
      return connection.answer(status, headers, body, head_only);
    };
    const auto path = path_of(request->target);
    struct stat status {};
    UniqueFd file;
    if (path) file.reset(::open((options_.root + *path).c_str(), O_RDONLY | O_CLOEXEC));
    bool alive = true;
    if (request->method != "GET" && !head_only) {
      alive = simple(405, "Allow: GET, HEAD\r\n", "only GET and HEAD\n");
    } else if (!path || (!file && errno != EACCES) || (file && ::fstat(file.get(), &status) != 0)) {
      alive = simple(404, "", "not found\n");
    } else if (!file) {
      alive = simple(403, "", "forbidden\n");
    } else if (S_ISDIR(status.st_mode) && path->back() != '/') {
      alive = simple(301, "Location: " + request->target + "/\r\n", "");
    } else if (S_ISDIR(status.st_mode)) {
      alive = simple(200, "Content-Type: text/html\r\n", index_page(options_.root + *path, *path));
    } else {
      const Representation known = representation(status);
      const Decision decision = decide(*request, known);
      std::string head = fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\nETag: {}\r\nLast-Modified: {}\r\n"
                                     "Accept-Ranges: bytes\r\n",
                                     decision.status, reason(decision.status),
                                     http_date(std::time(nullptr)), known.etag, http_date(known.modified));
      if (decision.status == 206)
        head += fmt::format("Content-Range: bytes {}-{}/{}\r\n", decision.body.begin,
                            decision.body.end - 1, known.size);
      if (decision.status == 416) head += fmt::format("Content-Range: bytes */{}\r\n", known.size);
      if (decision.status != 304)
        head += fmt::format("Content-Type: application/octet-stream\r\nContent-Length: {}\r\n",
                            decision.body.size());
      noted.status = decision.status;
      alive = send_all(connection.socket.get(), head + "\r\n");
      off_t at = static_cast<off_t>(decision.body.begin);
      while (alive && !head_only && static_cast<std::uint64_t>(at) < decision.body.end) {
        const ssize_t n = ::sendfile(connection.socket.get(), file.get(), &at,
                                     decision.body.end - static_cast<std::uint64_t>(at));
        if (n < 0 && errno == EINTR) continue;
        alive = n > 0;
      }
      if (!head_only) noted.body_bytes = static_cast<std::uint64_t>(at) - decision.body.begin;
      note(noted);
    }
    if (!alive || request->header("connection") == "close") return;
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
  }
  for (Connection& connection : connections) ::shutdown(connection.socket.get(), SHUT_RDWR);
  for (Connection& connection : connections) connection.thread.join();
}

OriginServer::~OriginServer() { stop(); }

}  // namespace rangecache::test
