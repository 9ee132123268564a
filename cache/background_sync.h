#pragma once

#include <cstdint>
#include <string>
#include <thread>

#include "base/file_system.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "base/unique_fd.h"

namespace rangecache::cache {

/// Durability::kBatch: syncs the cache's file system (syncfs(2)) some seconds after something was
/// written to it, on a thread of its own ("rc-sync"), so that a power cut costs no more than that.
/// Thread-safe.
class BackgroundSync {
 public:
  static constexpr int kInterval_s = 5;

  BackgroundSync(FileSystem& files, std::string directory, Metrics& metrics);
  /// Does not sync what is left: a clean stop does.
  ~BackgroundSync();

  /// So much was written and is not surely on the disk.
  void wrote(std::uint64_t bytes) EXCLUDES(mu_);

 private:
  void run();

  FileSystem& files_;
  const std::string directory_;
  Counter& faults_;
  Gauge& unsynced_gauge_;
  Mutex mu_;
  CondVar changed_;
  std::uint64_t unsynced_ GUARDED_BY(mu_) = 0;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace rangecache::cache
