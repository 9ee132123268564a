#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <unordered_map>

#include "base/mutex.h"
#include "base/slice.h"
#include "fuse/backing_files.h"

namespace rangecache::fuse {

/// How the reads of each open inode are answered: by the daemon, or by the kernel from a backing
/// file. All handles of an inode must agree: the kernel fails an open with EIO that is of the other
/// mode than one still open, or that names a second backing file (fs/fuse/iomode.c). So the first
/// open of an inode chooses, and the last release ends the choice. Thread-safe.
class OpenModes {
 public:
  explicit OpenModes(BackingFiles& backing_files) : backing_files_(backing_files) {}

  /// The backing id that the open of `inode` shall be answered with; 0: reads come to the daemon.
  /// `whole_file` is asked when the inode has no open handle: one slice that is a whole file, or
  /// none. Its owner is kept until the last release.
  std::int32_t open(std::uint64_t inode, const std::function<std::optional<Slice>()>& whole_file)
      EXCLUDES(mu_);
  /// A handle was released, or its open was never received.
  void close(std::uint64_t inode) EXCLUDES(mu_);
  /// Open inodes that have a backing file.
  std::size_t backed() const { return backed_.load(std::memory_order_relaxed); }

 private:
  struct Mode {
    std::int32_t backing_id = 0;
    std::shared_ptr<const void> file;
    std::size_t handles = 0;
  };
  void drop(Mode mode);

  BackingFiles& backing_files_;
  std::atomic<std::size_t> backed_{0};
  Mutex mu_;
  std::unordered_map<std::uint64_t, Mode> modes_ GUARDED_BY(mu_);
};

}  // namespace rangecache::fuse
