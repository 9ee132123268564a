#pragma once

#include <vector>

#include "base/mutex.h"
#include "cache/read_ahead.h"

namespace rangecache::cache {

/// The ReadAhead of one open object, for all of its handles. Thread-safe.
class SharedReadAhead {
 public:
  explicit SharedReadAhead(ReadAhead::Options options) : read_ahead_(options) {}

  std::vector<ByteRange> next(ByteRange read, const ReadConditions& conditions) EXCLUDES(mu_) {
    MutexLock lock(mu_);
    return read_ahead_.next(read, conditions);
  }

 private:
  Mutex mu_;
  ReadAhead read_ahead_ GUARDED_BY(mu_);
};

}  // namespace rangecache::cache
