#include "base/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>

namespace rangecache {
namespace {

Error failed(const char* what, const std::string& path) {
  const int saved = errno;
  return error_from_errno(saved, std::string("cannot ") + what + " " + path);
}

FileSystem::Status to_status(const struct stat& status) {
  return {static_cast<std::uint64_t>(status.st_size),
          static_cast<std::uint64_t>(status.st_blocks) * 512, status.st_mode, status.st_uid};
}

class PosixFileSystem final : public FileSystem {
 public:
  Result<UniqueFd> open(const std::string& path, int flags, mode_t mode) override {
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode));
    if (!fd) return failed("open", path);
    return fd;
  }

  Result<void> write_all(int fd, std::span<const std::byte> data, std::uint64_t offset) override {
    while (!data.empty()) {
      const ssize_t n = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed("write", "a file of the cache");
      data = data.subspan(static_cast<std::size_t>(n));
      offset += static_cast<std::uint64_t>(n);
    }
    return {};
  }

  Result<std::size_t> read_at(int fd, std::span<std::byte> to, std::uint64_t offset) override {
    std::size_t have = 0;
    while (have < to.size()) {
      const ssize_t n =
          ::pread(fd, to.data() + have, to.size() - have, static_cast<off_t>(offset + have));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed("read", "a file of the cache");
      if (n == 0) break;
      have += static_cast<std::size_t>(n);
    }
    return have;
  }

  Result<std::string> read_file(const std::string& path, std::uint64_t limit) override {
    RC_ASSIGN(const UniqueFd fd, open(path, O_RDONLY, 0));
    std::string text;
    char buffer[64 * 1024];
    for (;;) {
      const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed("read", path);
      if (n == 0) return text;
      text.append(buffer, static_cast<std::size_t>(n));
      if (text.size() > limit) return Error(ErrorCode::kCorrupt, path + " is too long");
    }
  }

  Result<void> copy(int from, ByteRange range, int to, std::uint64_t offset) override {
    auto in = static_cast<off_t>(range.begin), out = static_cast<off_t>(offset);
    while (in < static_cast<off_t>(range.end)) {
      const ssize_t n = ::copy_file_range(from, &in, to, &out, range.end - in, 0);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed("copy", "a file of the cache");
      if (n == 0) return Error(ErrorCode::kCorrupt, "a file of the cache ends too early");
    }
    return {};
  }
  Result<void> sync(int fd) override {
    if (::fsync(fd) != 0) return failed("sync", "a file of the cache");
    return {};
  }
  Result<void> sync_all(int fd) override {
    if (::syncfs(fd) != 0) return failed("sync", "the file system of the cache");
    return {};
  }
  Result<std::uint64_t> free_bytes(const std::string& path) override {
    struct statvfs status {};
    if (::statvfs(path.c_str(), &status) != 0) return failed("look at the file system of", path);
    return std::uint64_t{status.f_bavail} * status.f_frsize;
  }

  Result<void> rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return failed("rename to", to);
    return {};
  }
  Result<void> unlink(const std::string& path) override {
    if (::unlink(path.c_str()) != 0) return failed("delete", path);
    return {};
  }
  Result<void> make_directory(const std::string& path, mode_t mode) override {
    if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) return failed("make", path);
    return {};
  }
  Result<void> remove_directory(const std::string& path) override {
    if (::rmdir(path.c_str()) != 0) return failed("remove", path);
    return {};
  }

  Result<Status> status(int fd) override {
    struct stat status {};
    if (::fstat(fd, &status) != 0) return failed("look at", "a file of the cache");
    return to_status(status);
  }
  Result<Status> status(const std::string& path) override {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) return failed("look at", path);
    return to_status(status);
  }

  Result<std::vector<Entry>> list(const std::string& path) override {
    const auto close = [](DIR* directory) { ::closedir(directory); };
    const std::unique_ptr<DIR, decltype(close)> directory(::opendir(path.c_str()), close);
    if (!directory) return failed("list", path);
    std::vector<Entry> entries;
    for (;;) {
      errno = 0;
      const dirent* entry = ::readdir(directory.get());
      if (!entry) break;
      std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      bool is_directory = entry->d_type == DT_DIR;
      if (entry->d_type == DT_UNKNOWN) {
        const auto found = status(path + "/" + name);
        is_directory = found && S_ISDIR(found->mode);
      }
      entries.push_back({std::move(name), is_directory});
    }
    if (errno != 0) return failed("list", path);
    return entries;
  }

  Result<void> set_attribute(int fd, const char* name, const std::string& value) override {
    if (::fsetxattr(fd, name, value.data(), value.size(), 0) != 0) {
      if (errno == ENOTSUP) return Error(ErrorCode::kUnsupported, "extended attributes", ENOTSUP);
      return failed("mark", "a file of the cache");
    }
    return {};
  }
  Result<std::string> attribute(int fd, const char* name) override {
    char buffer[512];
    const ssize_t n = ::fgetxattr(fd, name, buffer, sizeof buffer);
    if (n < 0) return failed("read the mark of", "a file of the cache");
    return std::string(buffer, static_cast<std::size_t>(n));
  }

  Result<void> lock(int fd) override {
    while (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno == EWOULDBLOCK) return Error(ErrorCode::kBusy, "locked by another process");
      return failed("lock", "the cache directory");
    }
    return {};
  }
};

}  // namespace

Error error_from_errno(int system_errno, std::string context) {
  ErrorCode code = ErrorCode::kIo;
  switch (system_errno) {
    case ENOSPC:
    case EDQUOT:
      code = ErrorCode::kNoSpace;
      break;
    case ENOENT:
      code = ErrorCode::kNotFound;
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      code = ErrorCode::kPermissionDenied;
      break;
    default:
      break;
  }
  return Error(code, std::move(context), system_errno);
}

FileSystem& posix_file_system() {
  static PosixFileSystem files;
  return files;
}

}  // namespace rangecache
