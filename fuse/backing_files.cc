#include "fuse/backing_files.h"

#include <linux/fuse.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

#include "base/log.h"

namespace rangecache::fuse {
namespace {

// From linux/fuse.h of Linux 6.9; Debian 12 has the headers of 6.1.
constexpr std::uint32_t kInitExt = 1U << 30;
constexpr std::uint32_t kPassthrough = 1U << (37 - 32);  // in flags2
constexpr std::uint32_t kMinorWithPassthrough = 40;

struct BackingMap {
  std::int32_t fd;
  std::uint32_t flags;
  std::uint64_t padding;
};
constexpr unsigned long kBackingOpen = _IOW(229, 1, BackingMap);
constexpr unsigned long kBackingClose = _IOW(229, 2, std::uint32_t);

// Of fuse_init_out, where headers of 6.1 have unused[0].
static_assert(sizeof(fuse_init_out) == 64);

}  // namespace

void BackingFiles::ask(fuse_init_out& reply) {
  reply.flags |= kInitExt;
  reply.flags2 |= kPassthrough;
  if (reply.minor < kMinorWithPassthrough) reply.minor = kMinorWithPassthrough;
  // How deep file systems may be stacked: chunks stand on one that is itself not stacked, and this
  // mount may still be a layer of an overlay.
  reply.unused[0] = 1;
}

std::int32_t BackingFiles::add(int fd) {
  if (!available()) return 0;
  BackingMap map{fd, 0, 0};
  const int id = ::ioctl(device_, kBackingOpen, &map);
  if (id > 0) return id;
  // No room or memory passes; that it is not allowed or not there does not.
  if (errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOSPC &&
      available_.exchange(false)) {
    log_info("fuse: complete files are not read by the kernel itself: {}", std::strerror(errno));
  }
  return 0;
}

void BackingFiles::remove(std::int32_t id) {
  std::uint32_t number = static_cast<std::uint32_t>(id);
  if (::ioctl(device_, kBackingClose, &number) != 0)
    log_warning("fuse: backing file {} cannot be closed: {}", id, std::strerror(errno));
}

}  // namespace rangecache::fuse
