#pragma once

#include <condition_variable>
#include <mutex>

// Clang's thread-safety analysis rejects a bare std::mutex: these wrappers carry the attributes.
// docs/THREADING.md lists each lock, what it guards, and what may be taken under it.
#if defined(__clang__)
#define RC_ATTRIBUTE(x) __attribute__((x))
#else
#define RC_ATTRIBUTE(x)
#endif
#define CAPABILITY(x) RC_ATTRIBUTE(capability(x))
#define SCOPED_CAPABILITY RC_ATTRIBUTE(scoped_lockable)
#define GUARDED_BY(x) RC_ATTRIBUTE(guarded_by(x))
#define PT_GUARDED_BY(x) RC_ATTRIBUTE(pt_guarded_by(x))
#define REQUIRES(...) RC_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) RC_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define RELEASE(...) RC_ATTRIBUTE(release_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) RC_ATTRIBUTE(try_acquire_capability(__VA_ARGS__))
#define EXCLUDES(...) RC_ATTRIBUTE(locks_excluded(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS RC_ATTRIBUTE(no_thread_safety_analysis)

namespace rangecache {

class CAPABILITY("mutex") Mutex {
 public:
  void lock() ACQUIRE() { mutex_.lock(); }
  void unlock() RELEASE() { mutex_.unlock(); }
  bool try_lock() TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  friend class CondVar;
  std::mutex mutex_;
};

class SCOPED_CAPABILITY MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~MutexLock() RELEASE() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

/// A condition variable for Mutex. Use it in a loop: `while (!ready_) changed_.wait(mu_);`
class CondVar {
 public:
  void wait(Mutex& mutex) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait(lock);
    lock.release();
  }
  /// False when `duration` passed without a notification.
  template <typename Duration>
  bool wait_for(Mutex& mutex, Duration duration) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    const bool notified = condition_.wait_for(lock, duration) == std::cv_status::no_timeout;
    lock.release();
    return notified;
  }
  void notify_one() { condition_.notify_one(); }
  void notify_all() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

}  // namespace rangecache
