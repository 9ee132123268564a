#pragma once

#include <atomic>
#include <cstdint>

namespace rangecache {

/// Time as the pure logic sees it, so that tests can turn it by hand. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  /// Nanoseconds that only grow, also while the wall clock is set. For durations and time-outs.
  virtual std::int64_t monotonic_ns() const = 0;
  /// Seconds since the Unix epoch. For HTTP dates and what must survive a restart.
  virtual std::int64_t unix_s() const = 0;
};

/// The system's clocks (CLOCK_MONOTONIC, CLOCK_REALTIME). Lives for the whole process.
const Clock& system_clock();

/// A clock that stands still until it is told. For tests; turn it from one thread.
class ManualClock final : public Clock {
 public:
  std::int64_t monotonic_ns() const override { return monotonic_ns_; }
  std::int64_t unix_s() const override { return unix_s_; }
  void advance_s(std::int64_t seconds) {
    monotonic_ns_ += seconds * 1'000'000'000;
    unix_s_ += seconds;
  }

 private:
  std::atomic<std::int64_t> monotonic_ns_ = 1'000'000'000;
  std::atomic<std::int64_t> unix_s_ = 1'700'000'000;
};

}  // namespace rangecache
