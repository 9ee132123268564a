#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>

#include "base/mutex.h"

namespace rangecache::fuse {

/// The numbers that the kernel knows open files and directories by. Numbers, not pointers: a late
/// or wrong one finds nothing instead of freed memory. Thread-safe.
template <typename T>
class HandleTable {
 public:
  std::uint64_t add(std::shared_ptr<T> object) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    objects_.emplace(next_, std::move(object));
    return next_++;
  }
  /// Null when there is no such handle.
  std::shared_ptr<T> find(std::uint64_t handle) const EXCLUDES(mu_) {
    MutexLock lock(mu_);
    const auto found = objects_.find(handle);
    return found == objects_.end() ? nullptr : found->second;
  }
  /// Returns the object, so that it is destroyed outside the lock.
  std::shared_ptr<T> remove(std::uint64_t handle) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    const auto found = objects_.find(handle);
    if (found == objects_.end()) return nullptr;
    std::shared_ptr<T> object = std::move(found->second);
    objects_.erase(found);
    return object;
  }
  std::size_t size() const EXCLUDES(mu_) {
    MutexLock lock(mu_);
    return objects_.size();
  }

 private:
  mutable Mutex mu_;
  std::unordered_map<std::uint64_t, std::shared_ptr<T>> objects_ GUARDED_BY(mu_);
  std::uint64_t next_ GUARDED_BY(mu_) = 1;
};

}  // namespace rangecache::fuse
