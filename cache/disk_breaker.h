#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>

#include "base/clock.h"
#include "base/metrics.h"
#include "rangecache/result.h"

namespace rangecache::cache {

/// Whether `error` tells that the cache disk is failing. A full disk does not (others filled it:
/// make room), nor does a process that has run out of descriptors or memory.
bool is_disk_fault(const Error& error);

/// Keeps a failing cache disk from being asked again and again: what it would hold is served from
/// the origin meanwhile, and a probe finds out when it is back.
///
///                kMaxFaults within kWindow, or trip()
///     closed ───────────────────────────────────────► open ◄──┐ probe failed: wait twice as long,
///       ▲                                              │      │ at most kMaxDelay
///       │               probe succeeded                ▼ due  │
///       └───────────────────────────────────────── half-open ─┘
///
/// Open, nothing new is written. Reads go past the disk only if reads were among the faults.
/// All times are the clock's monotonic nanoseconds. The store thread's, but for the two questions
/// that any thread may ask. Each change is logged once and shown by rangecache_disk_breaker_open.
class DiskBreaker {
 public:
  enum class Fault { kWrite, kRead };
  static constexpr std::size_t kMaxFaults = 5;
  static constexpr std::int64_t kWindow_ns = 10'000'000'000;
  static constexpr std::int64_t kFirstDelay_ns = 1'000'000'000;
  static constexpr std::int64_t kMaxDelay_ns = 60'000'000'000;
  /// A disk that fails again this soon after it came back is waited for as if it had not.
  static constexpr std::int64_t kTrusted_ns = 60'000'000'000;

  DiskBreaker(const Clock& clock, Metrics& metrics);

  /// May new chunks be written? Any thread.
  bool writes_allowed() const { return writes_allowed_.load(std::memory_order_relaxed); }
  /// May chunks be read? Any thread; lock-free.
  bool reads_allowed() const { return reads_allowed_.load(std::memory_order_relaxed); }

  /// A call failed. Ignored unless is_disk_fault().
  void fault(Fault kind, const Error& error);
  /// Opens at once: what failed is needed for everything (the manifest).
  void trip(const Error& error);

  /// True when a probe is due: half-open then, and probed() must follow.
  bool begin_probe();
  void probed(const Result<void>& result);
  /// What opened it: kNoSpace may be healed by evicting. Only while open.
  ErrorCode cause() const { return cause_; }

 private:
  enum class State { kClosed, kOpen, kHalfOpen };
  struct Seen {
    std::int64_t at_ns;
    Fault kind;
  };
  void open(const Error& error, bool reads_too);
  void pause_reads();

  const Clock& clock_;
  Gauge& open_gauge_;
  Counter& opened_;
  State state_ = State::kClosed;
  std::deque<Seen> faults_;  ///< of the last kWindow; at most kMaxFaults
  ErrorCode cause_ = ErrorCode::kIo;
  std::int64_t delay_ns_ = kFirstDelay_ns;
  std::int64_t probe_at_ns_ = 0;
  std::int64_t closed_at_ns_ = 0;
  std::atomic<bool> writes_allowed_{true};
  std::atomic<bool> reads_allowed_{true};
};

}  // namespace rangecache::cache
