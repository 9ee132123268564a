#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "base/unique_function.h"

namespace rangecache {

/// One thread that waits for descriptors (epoll), timers and posted tasks.
///
/// Everything except post() and stop() belongs to the loop's own thread. Callbacks must not block.
/// A callback may watch, unwatch and cancel anything, itself included.
class EventLoop {
 public:
  using Task = UniqueFunction<void()>;
  using FdCallback = UniqueFunction<void(std::uint32_t epoll_events)>;
  using TimerId = std::pair<std::int64_t, std::uint64_t>;  ///< (due at monotonic ns, serial)

  /// Starts the thread under the OS name `thread_name` (at most 15 characters).
  explicit EventLoop(const std::string& thread_name);
  /// Stops and joins. Tasks that were posted before are run first.
  ~EventLoop();

  /// Runs `task` on the loop's thread. Any thread; after stop() the task is dropped unrun.
  void post(Task task) EXCLUDES(mu_);
  /// Runs what was posted so far, then ends the thread and joins it. Any other thread; idempotent.
  void stop() EXCLUDES(mu_);
  bool in_loop_thread() const { return std::this_thread::get_id() == thread_id_; }

  /// Calls `callback` with the ready events (EPOLLIN, ...) of `fd`, level-triggered.
  void watch(int fd, std::uint32_t epoll_events, FdCallback callback);
  void modify(int fd, std::uint32_t epoll_events);
  /// Must precede close(fd): numbers are reused.
  void unwatch(int fd);

  TimerId call_after_ms(std::int64_t delay_ms, Task task);
  void cancel(TimerId timer);

 private:
  void run();
  bool run_posted() EXCLUDES(mu_);  ///< false once stopped and drained
  int run_due_timers();             ///< milliseconds to the next one, or -1
  void wake();

  struct Watch {
    FdCallback callback;
    std::uint64_t serial;  ///< tells a reused fd number from the one that epoll reported
  };

  UniqueFd epoll_;
  UniqueFd wake_;
  std::unordered_map<int, std::shared_ptr<Watch>> watches_;
  std::map<TimerId, Task> timers_;
  std::uint64_t next_serial_ = 1;

  Mutex mu_;
  std::vector<Task> posted_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;

  std::atomic<std::thread::id> thread_id_{};
  std::thread thread_;  // last: it uses everything above
};

}  // namespace rangecache
