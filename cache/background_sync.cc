#include "cache/background_sync.h"

#include <fcntl.h>
#include <pthread.h>

#include <chrono>
#include <utility>

#include "base/log.h"

namespace rangecache::cache {

BackgroundSync::BackgroundSync(FileSystem& files, std::string directory, Metrics& metrics)
    : files_(files),
      directory_(std::move(directory)),
      faults_(metrics.counter("rangecache_cache_faults_total",
                              "Failures of the cache disk that readers did not see")),
      unsynced_gauge_(metrics.gauge("rangecache_unsynced_bytes",
                                    "Bytes of chunks that a power cut now might cost")) {
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "rc-sync");
}

BackgroundSync::~BackgroundSync() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void BackgroundSync::wrote(std::uint64_t bytes) {
  MutexLock lock(mu_);
  if (unsynced_ == 0) changed_.notify_all();
  unsynced_ += bytes;
  unsynced_gauge_.set(static_cast<std::int64_t>(unsynced_));
}

void BackgroundSync::run() {
  for (;;) {
    std::uint64_t before = 0;
    {
      MutexLock lock(mu_);
      while (unsynced_ == 0 && !stopping_) changed_.wait(mu_);
      // What is written in the next seconds goes with it.
      const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(kInterval_s);
      for (auto now = std::chrono::steady_clock::now(); !stopping_ && now < until;
           now = std::chrono::steady_clock::now())
        changed_.wait_for(mu_, until - now);
      if (stopping_) return;
      before = unsynced_;
    }
    const auto directory = files_.open(directory_, O_RDONLY | O_DIRECTORY, 0);
    const auto synced = directory ? files_.sync_all(directory->get()) : directory.error();
    if (!synced) {
      faults_.add();
      log_warning("{}", synced.error().message());
    }
    MutexLock lock(mu_);
    unsynced_ -= synced ? before : 0;
    unsynced_gauge_.set(static_cast<std::int64_t>(unsynced_));
  }
}

}  // namespace rangecache::cache
