#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <thread>

#include "base/mutex.h"

namespace rangecache::fuse {

/// Tells the kernel, from a thread of its own ("rc-fuse-inval"), which names to look up again.
///
/// Never from a request's thread: the kernel takes the directory's lock for it, and may hold that
/// lock while it waits for the very answer which that thread is about to give.
class Invalidator {
 public:
  /// Tells the kernel; may block. Called on the thread.
  using Notify = std::function<void(std::uint64_t parent, const std::string& name)>;
  static constexpr std::size_t kQueueLimit = 4096;

  explicit Invalidator(Notify notify);
  ~Invalidator();

  /// False when the queue is full or stopped: the name then lives until its time-out, which never
  /// outlives the freshness that was granted.
  bool add(std::uint64_t parent, std::string name) EXCLUDES(mu_);
  /// Drops what is queued and joins. The kernel's requests must still be answered meanwhile.
  void stop() EXCLUDES(mu_);

 private:
  struct Item {
    std::uint64_t parent;
    std::string name;
  };
  void run() EXCLUDES(mu_);

  const Notify notify_;
  Mutex mu_;
  CondVar changed_;
  std::deque<Item> queue_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace rangecache::fuse
