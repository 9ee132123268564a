#pragma once

#include <optional>
#include <utility>

#include "base/mutex.h"

namespace rangecache::client {

/// A value that one thread waits for and another one sets, once.
template <typename T>
class Awaited {
 public:
  void set(T value) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    value_.emplace(std::move(value));
    changed_.notify_one();
  }
  T wait() EXCLUDES(mu_) {
    MutexLock lock(mu_);
    while (!value_) changed_.wait(mu_);
    return std::move(*value_);
  }

 private:
  Mutex mu_;
  CondVar changed_;
  std::optional<T> value_ GUARDED_BY(mu_);
};

}  // namespace rangecache::client
