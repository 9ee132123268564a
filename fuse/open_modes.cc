#include "fuse/open_modes.h"

#include <utility>

namespace rangecache::fuse {

std::int32_t OpenModes::open(std::uint64_t inode,
                             const std::function<std::optional<Slice>()>& whole_file) {
  {
    MutexLock lock(mu_);
    const auto found = modes_.find(inode);
    if (found != modes_.end()) {
      ++found->second.handles;
      return found->second.backing_id;
    }
  }
  // Outside the lock: a file may have to be opened. Two first opens may both get here; one wins.
  Mode mode;
  if (backing_files_.available()) {
    if (auto slice = whole_file()) {
      mode.backing_id = backing_files_.add(slice->fd);
      if (mode.backing_id != 0) mode.file = std::move(slice->owner);
    }
  }
  std::int32_t chosen = 0;
  {
    MutexLock lock(mu_);
    Mode& entry = modes_[inode];
    if (entry.handles++ == 0) {
      std::swap(entry.backing_id, mode.backing_id);
      std::swap(entry.file, mode.file);
      if (entry.backing_id != 0) ++backed_;
    }
    chosen = entry.backing_id;
  }
  drop(std::move(mode));
  return chosen;
}

void OpenModes::close(std::uint64_t inode) {
  Mode over;
  {
    MutexLock lock(mu_);
    const auto found = modes_.find(inode);
    if (found == modes_.end() || --found->second.handles > 0) return;
    over = std::move(found->second);
    if (over.backing_id != 0) --backed_;
    modes_.erase(found);
  }
  drop(std::move(over));
}

void OpenModes::drop(Mode mode) {
  if (mode.backing_id != 0) backing_files_.remove(mode.backing_id);
}

}  // namespace rangecache::fuse
