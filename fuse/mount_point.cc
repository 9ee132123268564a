#include "fuse/mount_point.h"

#include <dirent.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <vector>

#include "base/log.h"

namespace rangecache::fuse {
namespace {

/// mountinfo writes space, tab, newline and backslash as \ and three octal digits.
std::string unescape(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      plain += static_cast<char>(std::strtol(text.substr(i + 1, 3).c_str(), nullptr, 8));
      i += 3;
    } else {
      plain += text[i];
    }
  }
  return plain;
}

/// Resolves all but the last component: that one may be a mount whose daemon is dead.
Result<std::string> absolute_path(const std::string& path) {
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  const std::size_t slash = trimmed.rfind('/');
  std::string parent = slash == std::string::npos ? "." : trimmed.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? trimmed : trimmed.substr(slash + 1);
  if (name.empty() || name == "." || name == "..") parent = trimmed;
  char resolved[PATH_MAX];
  if (!realpath(parent.c_str(), resolved)) {
    const int error = errno;
    if (error == ENOENT) {
      return Error{ErrorCode::kNotFound,
                   fmt::format("mount point {0} does not exist: mkdir -p {0}", path), error};
    }
    return Error{error == EACCES ? ErrorCode::kPermissionDenied : ErrorCode::kIo,
                 "cannot reach the mount point " + path, error};
  }
  std::string absolute = resolved;
  if (parent == trimmed) return absolute;
  if (absolute.back() != '/') absolute += '/';
  return absolute + name;
}

bool is_empty_directory(const std::string& path) {
  DIR* const directory = opendir(path.c_str());
  if (!directory) return true;  // not ours to judge: the mount will tell
  int names = 0;
  while (names <= 2 && readdir(directory)) ++names;
  closedir(directory);
  return names <= 2;
}

}  // namespace

std::optional<MountEntry> find_mount(const std::string& path) {
  std::ifstream table("/proc/self/mountinfo");
  std::optional<MountEntry> top;  // later lines are mounted over earlier ones
  for (std::string line; std::getline(table, line);) {
    // id parent major:minor root mount-point options [optional fields] - type source options
    std::istringstream fields(line);
    std::string id, parent, device, root, point, word, type;
    fields >> id >> parent >> device >> root >> point;
    if (unescape(point) != path) continue;
    while (fields >> word && word != "-") {
    }
    fields >> type;
    top = MountEntry{device, type};
  }
  return top;
}

Result<std::string> check_mount_point(const std::string& mount_point) {
  RC_ASSIGN(std::string path, absolute_path(mount_point));
  const auto already_ours = [&](const std::string& where) {
    return Error{ErrorCode::kBusy,
                 fmt::format("{0} is a rangecache mount already: unmount it first with "
                             "fusermount3 -u {0}",
                             where)};
  };
  const auto is_ours = [](const std::string& where) {
    const auto mounted = find_mount(where);
    return mounted && mounted->type == kMountType;
  };
  struct stat status {};
  if (is_ours(path)) {
    // A daemon that was killed leaves a dead mount: every call on it says ENOTCONN. Ours to clear.
    if (stat(path.c_str(), &status) == 0 || errno != ENOTCONN) return already_ours(path);
    log_info("{}: the mount of a daemon that died is cleared away", path);
    RC_TRY(detach_mount(path));
  }
  if (stat(path.c_str(), &status) != 0) {
    const int error = errno;
    switch (error) {
      case ENOENT:
        return Error{ErrorCode::kNotFound,
                     fmt::format("mount point {0} does not exist: mkdir -p {0}", mount_point),
                     error};
      case ENOTCONN:
        return Error{ErrorCode::kBusy,
                     fmt::format("{0} is the mount of a daemon that died: unmount it with "
                                 "fusermount3 -u {0}",
                                 mount_point),
                     error};
      case EACCES:
        return Error{ErrorCode::kPermissionDenied, "cannot reach the mount point " + mount_point,
                     error};
      default:
        return Error{ErrorCode::kIo, "cannot use the mount point " + mount_point, error};
    }
  }
  if (!S_ISDIR(status.st_mode)) {
    return Error{ErrorCode::kNotDirectory,
                 fmt::format("mount point {} is not a directory", mount_point)};
  }
  char resolved[PATH_MAX];  // the last component may be a symbolic link
  if (realpath(path.c_str(), resolved)) path = resolved;
  if (is_ours(path)) return already_ours(path);
  if (!is_empty_directory(path))
    log_warning("mount point {} is not empty: its files are hidden while it is mounted", path);
  return path;
}

Result<void> detach_mount(const std::string& path) {
  if (umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) return {};
  const int error = errno;
  if (error != EPERM) return Error{ErrorCode::kIo, "cannot unmount " + path, error};

  std::vector<std::string> words = {"fusermount3", "-u", "-q", "-z", "--", path};
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  pid_t child = -1;
  const int spawned =
      posix_spawnp(&child, arguments[0], nullptr, nullptr, arguments.data(), environ);
  if (spawned != 0)
    return Error{ErrorCode::kIo, "cannot run fusermount3 to unmount " + path, spawned};
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  return Error{ErrorCode::kIo, "fusermount3 could not unmount " + path};
}

bool set_read_ahead_kb(const std::string& device, unsigned kb) {
  std::ofstream file("/sys/class/bdi/" + device + "/read_ahead_kb");
  file << kb << std::flush;
  return file.good();
}

}  // namespace rangecache::fuse
