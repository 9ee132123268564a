#pragma once

#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/unique_function.h"

namespace rangecache::fetcher {

/// A few threads for calls that may block for long (a slow network file system). Thread-safe.
class WorkerPool {
 public:
  using Task = UniqueFunction<void()>;

  /// Threads are named "<name>-0", "<name>-1", ...
  WorkerPool(const std::string& name, int threads);
  ~WorkerPool();

  /// False after stop(): the task is not run.
  bool post(Task task) EXCLUDES(mu_);
  /// Runs what was posted, then joins. Never from a worker; idempotent.
  void stop() EXCLUDES(mu_);

 private:
  void run() EXCLUDES(mu_);

  Mutex mu_;
  CondVar changed_;
  std::deque<Task> tasks_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace rangecache::fetcher
