#pragma once

#include <sys/uio.h>

#include <atomic>
#include <cstdint>

struct fuse_init_out;

namespace rangecache::fuse {

/// Files that the kernel reads by itself for the reads of an inode (FUSE_PASSTHROUGH, Linux 6.9,
/// Documentation/filesystems/fuse-passthrough.rst), so that they cost the daemon nothing. libfuse
/// 3.14 does not know the feature: its numbers stand here. Thread-safe.
///
/// Where the kernel or the rights lack it (CAP_SYS_ADMIN), or the files stand on a stacked file
/// system, add() finds out once and gives 0 from then on.
class BackingFiles {
 public:
  /// Asks for the feature in the answer to INIT. A kernel that does not know it reads past it.
  static void ask(fuse_init_out& reply);

  /// The /dev/fuse descriptor of the mount; not owned. Before the first add().
  void attach(int device) { device_ = device; }

  /// The kernel takes a reference of its own to the file. Returns the id for the reply to an open;
  /// 0 when the kernel will not have it.
  std::int32_t add(int fd);
  /// The last open with this id was released.
  void remove(std::int32_t id);

  /// False once the kernel has refused for good.
  bool available() const { return available_.load(std::memory_order_relaxed); }
  void disable() { available_ = false; }

 private:
  int device_ = -1;
  std::atomic<bool> available_{true};
};

}  // namespace rangecache::fuse
