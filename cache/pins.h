#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/file_system.h"
#include "base/mutex.h"
#include "rangecache/result.h"
#include "rangecache/types.h"

namespace rangecache::cache {

/// What is not to be evicted for lack of room: URL prefixes, each with an owner and perhaps a time
/// when it ends. Kept in `<cache>/pins` (docs/DISK_FORMAT.md). Thread-safe.
class Pins {
 public:
  /// Reads the file, if there is one. A damaged one is reported in the log and started without.
  Pins(FileSystem& files, const std::string& cache_directory, const Clock& clock);

  /// A pin of the same prefix and owner is replaced. `expires_s`: Unix seconds; 0: never.
  Result<void> add(std::string prefix, std::string owner, std::int64_t expires_s) EXCLUDES(mu_);
  /// Of this owner, or of all if it is empty; how many there were.
  Result<std::uint64_t> remove(const std::string& prefix, const std::string& owner) EXCLUDES(mu_);
  /// Those that have not expired, in order of prefix. `cached_bytes` is not set.
  std::vector<PinInfo> list() const EXCLUDES(mu_);
  bool is_pinned(std::string_view url) const EXCLUDES(mu_);
  /// False without a lock when there is no pin at all, the common case.
  bool any() const { return any_.load(std::memory_order_relaxed); }
  /// Grows with every change, expiry included: what was concluded before may be wrong. Looks for
  /// expired pins.
  std::uint64_t serial() EXCLUDES(mu_);

 private:
  void load();
  Result<void> save() REQUIRES(mu_);
  void changed() REQUIRES(mu_);

  FileSystem& files_;
  const std::string path_;
  const Clock& clock_;
  std::atomic<bool> any_{false};
  mutable Mutex mu_;
  std::vector<PinInfo> pins_ GUARDED_BY(mu_);
  std::uint64_t serial_ GUARDED_BY(mu_) = 0;
};

}  // namespace rangecache::cache
