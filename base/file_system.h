#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "rangecache/byte_range.h"
#include "rangecache/result.h"

namespace rangecache {

/// The Error for `system_errno`: ENOSPC and EDQUOT are kNoSpace, ENOENT kNotFound, EACCES, EPERM
/// and EROFS kPermissionDenied, the rest kIo.
Error error_from_errno(int system_errno, std::string context);

/// The disk as the cache sees it, so that tests can make it fail. Thread-safe. Calls loop over
/// EINTR and short transfers; errors name the path.
class FileSystem {
 public:
  struct Status {
    std::uint64_t size = 0;
    std::uint64_t disk_bytes = 0;  ///< st_blocks * 512
    mode_t mode = 0;
    uid_t owner = 0;
  };
  struct Entry {
    std::string name;
    bool is_directory = false;
  };

  virtual ~FileSystem() = default;
  /// Adds O_CLOEXEC and O_NOFOLLOW.
  virtual Result<UniqueFd> open(const std::string& path, int flags, mode_t mode) = 0;
  virtual Result<void> write_all(int fd, std::span<const std::byte> data, std::uint64_t offset) = 0;
  /// Fills `to` from `offset` on; how many bytes there were: fewer only at the file's end.
  virtual Result<std::size_t> read_at(int fd, std::span<std::byte> to, std::uint64_t offset) = 0;
  /// The whole file, at most `limit` bytes (a longer one is kCorrupt).
  virtual Result<std::string> read_file(const std::string& path, std::uint64_t limit) = 0;
  /// Copies `range` of `from` to `offset` of `to`, sharing blocks where the file system can
  /// (copy_file_range(2) reflinks on XFS and Btrfs). kCorrupt: `from` ends before.
  virtual Result<void> copy(int from, ByteRange range, int to, std::uint64_t offset) = 0;
  /// fsync(2): the file's bytes, size and attributes survive a power cut; of a directory, the names
  /// in it.
  virtual Result<void> sync(int fd) = 0;
  /// syncfs(2): all of the file system that `fd` is on, names included.
  virtual Result<void> sync_all(int fd) = 0;
  /// What the file system that `path` is on has left for us, in bytes.
  virtual Result<std::uint64_t> free_bytes(const std::string& path) = 0;
  virtual Result<void> rename(const std::string& from, const std::string& to) = 0;
  virtual Result<void> unlink(const std::string& path) = 0;
  /// A directory that is there already is fine.
  virtual Result<void> make_directory(const std::string& path, mode_t mode) = 0;
  virtual Result<void> remove_directory(const std::string& path) = 0;
  virtual Result<Status> status(int fd) = 0;
  /// Of the name itself: symbolic links are not followed.
  virtual Result<Status> status(const std::string& path) = 0;
  virtual Result<std::vector<Entry>> list(const std::string& path) = 0;
  /// kUnsupported where the file system has no extended attributes.
  virtual Result<void> set_attribute(int fd, const char* name, const std::string& value) = 0;
  virtual Result<std::string> attribute(int fd, const char* name) = 0;
  /// An exclusive flock that does not wait: kBusy when another process has it.
  virtual Result<void> lock(int fd) = 0;
};

/// The real one. Lives for the whole process.
FileSystem& posix_file_system();

}  // namespace rangecache
