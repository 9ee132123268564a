#include "daemon/api_socket_path.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

namespace rangecache::daemon {
namespace {

constexpr int kBacklog = 128;

Error denied(const std::string& what) { return Error{ErrorCode::kPermissionDenied, what}; }

std::pair<std::string, std::string> split(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

// Nobody but its owner and root may be able to replace names in it; a sticky directory (/tmp) does.
Result<UniqueFd> open_directory(const std::string& path) {
  const bool made = mkdir(path.c_str(), 0700) == 0;
  if (!made && errno != EEXIST) {
    return Error{ErrorCode::kIo, "cannot make the socket's directory " + path, errno};
  }
  UniqueFd directory(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!directory) {
    if (errno == ELOOP || errno == ENOTDIR) {
      return denied("the socket's directory " + path +
                    " is a symlink or no directory: remove it or choose another --socket");
    }
    return Error{ErrorCode::kIo, "cannot open the socket's directory " + path, errno};
  }
  struct stat info {};
  if (fstat(directory.get(), &info) != 0) {
    return Error{ErrorCode::kIo, "cannot examine the socket's directory " + path, errno};
  }
  if (info.st_uid != geteuid() && info.st_uid != 0) {
    return denied("the socket's directory " + path +
                  " belongs to another user: choose another --socket");
  }
  if ((info.st_mode & 022) && !(info.st_mode & S_ISVTX)) {
    return denied("others may write to the socket's directory " + path +
                  ": chmod it to 0700 or choose another --socket");
  }
  if (made && fchmod(directory.get(), 0700) != 0) {  // whatever the umask took away
    return Error{ErrorCode::kIo, "cannot set the mode of " + path, errno};
  }
  return directory;
}

// Two daemons that start at once must not both find the same stale socket. Held during bind().
Result<void> lock_directory(int directory, const std::string& path) {
  for (int attempt = 0; attempt < 200; ++attempt) {
    if (flock(directory, LOCK_EX | LOCK_NB) == 0) return {};
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return Error{ErrorCode::kIo, "cannot lock the directory of " + path, errno};
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return Error{ErrorCode::kBusy, "another daemon is starting at " + path};
}

// Through the descriptor that was checked: the name cannot be led elsewhere meanwhile, and a long
// path fits the 108 bytes of sun_path.
Result<sockaddr_un> address_of(int directory, const std::string& name, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string text = "/proc/self/fd/" + std::to_string(directory) + "/" + name;
  if (name.empty() || text.size() >= sizeof address.sun_path) {
    return Error{ErrorCode::kInvalidArgument, "'" + path + "' is no name for a socket"};
  }
  std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
  return address;
}

// Frees the name if a daemon that has died left its socket there.
Result<void> clear_name(int directory, const std::string& name, const sockaddr_un& address,
                        const std::string& path) {
  struct stat info {};
  if (fstatat(directory, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return {};
    return Error{ErrorCode::kIo, "cannot examine " + path, errno};
  }
  if (info.st_uid != geteuid()) {
    return denied(path + " belongs to another user: choose another --socket");
  }
  if (!S_ISSOCK(info.st_mode)) {
    return Error{ErrorCode::kBusy,
                 path + " exists and is not a socket: remove it or choose another --socket"};
  }
  UniqueFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return Error{ErrorCode::kIo, "cannot make a socket", errno};
  if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ||
      errno != ECONNREFUSED) {  // EAGAIN: one is there, and busy
    return Error{ErrorCode::kBusy, "another daemon answers at " + path +
                                       ": stop it (cachectl shutdown) or choose another --socket"};
  }
  if (unlinkat(directory, name.c_str(), 0) != 0 && errno != ENOENT) {
    return Error{ErrorCode::kIo, "cannot remove the stale socket " + path, errno};
  }
  return {};
}

}  // namespace

Result<ListeningSocket> ListeningSocket::bind(const std::string& path) {
  const auto [directory_path, name] = split(path);
  RC_ASSIGN(UniqueFd directory, open_directory(directory_path));
  RC_TRY(lock_directory(directory.get(), path));
  RC_ASSIGN(const sockaddr_un address, address_of(directory.get(), name, path));
  RC_TRY(clear_name(directory.get(), name, address, path));

  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket) return Error{ErrorCode::kIo, "cannot make a socket", errno};
  // Linux gives the bound name the mode of the socket's own inode: there is no instant at which
  // it is wider, and the process-wide umask need not be touched.
  if (fchmod(socket.get(), 0600) != 0 ||
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Error{ErrorCode::kIo, "cannot bind the socket " + path, errno};
  }
  struct stat info {};
  if (fstatat(directory.get(), name.c_str(), &info, AT_SYMLINK_NOFOLLOW) != 0 ||
      listen(socket.get(), kBacklog) != 0) {
    return Error{ErrorCode::kIo, "cannot listen at " + path, errno};
  }
  flock(directory.get(), LOCK_UN);
  return ListeningSocket(std::move(directory), name, std::move(socket), info.st_ino);
}

void ListeningSocket::remove() {
  if (!socket_) return;
  struct stat info {};
  if (fstatat(directory_.get(), name_.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 &&
      info.st_ino == inode_) {
    unlinkat(directory_.get(), name_.c_str(), 0);
  }
  socket_.reset();
}

}  // namespace rangecache::daemon
