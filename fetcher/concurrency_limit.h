#pragma once

#include <cstdint>

namespace rangecache::fetcher {

/// How many requests an origin gets at a time: halved when it says that it is too many, and one
/// more for each round of answers after that (additive increase, multiplicative decrease). Pure;
/// not thread-safe. Times are monotonic nanoseconds.
class ConcurrencyLimit {
 public:
  explicit ConcurrencyLimit(int most);

  int limit() const { return static_cast<int>(limit_); }
  void answered();
  /// The request that was sent at `sent_ns` was refused for load, or timed out. One burst of such
  /// answers counts once: what was sent before the last halving says nothing of the new limit.
  void slowed(std::int64_t sent_ns, std::int64_t now_ns);

 private:
  const double most_;
  double limit_;
  std::int64_t halved_ns_ = INT64_MIN;
};

}  // namespace rangecache::fetcher
