#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"

namespace rangecache::fetcher {

/// A web server on 127.0.0.1 that answers the n-th request it gets with the n-th reply of its
/// script, byte for byte, whatever the request was, and remembers the requests.
class ScriptedServer {
 public:
  struct Reply {
    enum class Then { kKeep, kClose, kReset };
    std::string bytes;  ///< raw: status line, headers, body
    Then then = Then::kKeep;
    bool held = false;  ///< sent only after release()
  };
  struct Request {
    std::string method;
    std::string target;
    std::map<std::string, std::string> headers;  ///< names in lower case
    int connection = 0;                          ///< counted from 1
  };

  explicit ScriptedServer(std::vector<Reply> script);
  ~ScriptedServer();

  std::string url(const std::string& path = "/") const;
  std::vector<Request> requests() const EXCLUDES(mu_);
  /// Waits until `count` requests have come; false after ten seconds.
  bool wait_for_requests(std::size_t count) const EXCLUDES(mu_);
  /// Sends the replies that are held, now and from now on.
  void release() EXCLUDES(mu_);

 private:
  struct Connection {
    UniqueFd fd;
    int number = 0;
    std::string input;
    std::vector<Reply> held;
  };
  void run();
  bool read_from(Connection& connection) EXCLUDES(mu_);  ///< false: to be closed
  bool send(Connection& connection, const Reply& reply);

  const std::vector<Reply> script_;
  UniqueFd listener_;
  UniqueFd wake_;
  std::uint16_t port_ = 0;
  std::vector<Connection> connections_;  // the thread's own

  mutable Mutex mu_;
  mutable CondVar changed_;
  std::vector<Request> requests_ GUARDED_BY(mu_);
  bool released_ GUARDED_BY(mu_) = false;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

/// "HTTP/1.1 <status>" with `headers` ("Name: value" lines) and `body`. A Content-Length is added
/// unless `headers` says something about the length itself.
std::string http_reply(const std::string& status, const std::vector<std::string>& headers,
                       const std::string& body);

}  // namespace rangecache::fetcher
