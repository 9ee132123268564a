#pragma once

#include <optional>
#include <string>

#include "rangecache/result.h"

namespace rangecache::fuse {

/// The file system type under which our mounts appear in /proc/self/mountinfo.
inline constexpr const char* kMountType = "fuse.rangecache";

/// One line of /proc/self/mountinfo.
struct MountEntry {
  std::string device;  ///< "major:minor"
  std::string type;    ///< e.g. "fuse.rangecache"
};

/// What is mounted on top at `path` (absolute, without symbolic links); nullopt if nothing is.
/// Asks only the kernel's table: a dead or hanging mount cannot stop it.
std::optional<MountEntry> find_mount(const std::string& path);

/// The absolute path of `mount_point`, ready for a mount; or an error that says what to do: it is
/// missing, no directory, or a mount of ours already. One that is not empty only earns a warning.
Result<std::string> check_mount_point(const std::string& mount_point);

/// Detaches the mount at `path` at once, busy or not: as root by itself, else with fusermount3.
Result<void> detach_mount(const std::string& path);

/// Sets the kernel's read-ahead for the mount of `device`; needs root. True if it was set.
bool set_read_ahead_kb(const std::string& device, unsigned kb);

}  // namespace rangecache::fuse
