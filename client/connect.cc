#include "client/connect.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace rangecache::client {
namespace {

Error no_daemon(const std::string& path, int error) {
  return Error{ErrorCode::kUnreachable,
               "no daemon answers at " + path + ": start rangecached, or set RANGECACHE_SOCKET",
               error};
}

Result<UniqueFd> connect_to(const std::string& path, timeval timeout) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  UniqueFd directory;  // a path too long for sun_path is reached through its directory
  std::string name = path;
  if (name.size() >= sizeof address.sun_path) {
    const auto slash = path.rfind('/');
    directory.reset(open(path.substr(0, slash).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory) return no_daemon(path, errno);
    name = "/proc/self/fd/" + std::to_string(directory.get()) + path.substr(slash);
  }
  if (name.empty() || name.size() >= sizeof address.sun_path) {
    return Error{ErrorCode::kInvalidArgument, "'" + path + "' is no name for a socket"};
  }
  std::memcpy(address.sun_path, name.c_str(), name.size() + 1);
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return Error{ErrorCode::kIo, "cannot make a socket", errno};
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EACCES || errno == EPERM) {
      return Error{ErrorCode::kPermissionDenied,
                   "the daemon at " + path + " belongs to another user", errno};
    }
    return no_daemon(path, errno);
  }
  return fd;
}

// Someone else could have put a socket at a name in /tmp while no daemon was running.
Result<void> check_owner(int fd, const std::string& path) {
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
      (peer.uid == geteuid() || peer.uid == 0)) {
    return {};
  }
  return Error{ErrorCode::kPermissionDenied,
               "the program that answers at " + path + " belongs to another user"};
}

Result<std::string> receive_exactly(int fd, std::size_t size, const std::string& path) {
  std::string data(size, '\0');
  for (std::size_t have = 0; have < size;) {
    const ssize_t got = recv(fd, data.data() + have, size - have, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
      return Error{ErrorCode::kTimedOut, "the daemon at " + path + " does not answer"};
    }
    if (got <= 0) {
      return Error{ErrorCode::kUnreachable, "the daemon at " + path + " hung up",
                   got < 0 ? errno : ECONNRESET};
    }
    have += static_cast<std::size_t>(got);
  }
  return data;
}

}  // namespace

Result<Greeted> connect_and_greet(const std::string& path, std::chrono::milliseconds timeout) {
  timeval limit{};
  limit.tv_sec = static_cast<time_t>(timeout.count() / 1000);
  limit.tv_usec = static_cast<suseconds_t>(timeout.count() % 1000 * 1000);
  RC_ASSIGN(UniqueFd fd, connect_to(path, limit));
  RC_TRY(check_owner(fd.get(), path));
  wire::Greeting ours;
  ours.max_payload = protocol::kMaxReplyPayload;
  const std::string hello = wire::encode(ours);
  // A failure to send is not the news: a daemon that refuses us has said why before it hung up.
  [[maybe_unused]] const auto sent = send(fd.get(), hello.data(), hello.size(), MSG_NOSIGNAL);
  RC_ASSIGN(const std::string answer, receive_exactly(fd.get(), protocol::kGreetingSize, path));
  RC_ASSIGN(wire::Greeting daemon, wire::decode_greeting(answer));
  RC_TRY(wire::agree_on_version(daemon, ours));
  fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
  return Greeted{std::move(fd), daemon};
}

}  // namespace rangecache::client
