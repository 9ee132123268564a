#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "base/metrics.h"

namespace rangecache::cache {

/// The hard limit on what the cache directory takes on disk (promise 7). Space is reserved before
/// it is written and released after it is gone, so the sum is never less than what is there.
/// Thread-safe, lock-free.
class Ledger {
 public:
  Ledger(std::uint64_t limit_bytes, Metrics& metrics);
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  /// Takes `bytes` if they fit under the limit; otherwise takes nothing.
  [[nodiscard]] bool try_reserve(std::uint64_t bytes);
  /// For what is on disk already, whether the limit likes it or not.
  void charge_existing(std::uint64_t bytes);
  /// Gives back what was reserved or charged. More than that is a bug (CHECK).
  void release(std::uint64_t bytes);

  std::uint64_t used() const { return used_.load(std::memory_order_relaxed); }
  std::uint64_t limit() const { return limit_; }

  /// What a chunk file of `size` bytes may take at most: its blocks of 4 KiB, and one more for
  /// its attributes or extents.
  static std::uint64_t chunk_charge(std::uint64_t size);

 private:
  const std::uint64_t limit_;
  std::atomic<std::uint64_t> used_{0};
  Gauge& used_gauge_;
};

/// Owns bytes that were reserved in a ledger, which must outlive it; releases them when dropped.
class Charge {
 public:
  Charge() = default;
  /// Takes over `bytes` that are in the ledger already.
  Charge(Ledger& ledger, std::uint64_t bytes) : ledger_(&ledger), bytes_(bytes) {}
  Charge(Charge&& other) noexcept
      : ledger_(std::exchange(other.ledger_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Charge& operator=(Charge&& other) noexcept {
    Charge taken(std::move(other));  // so that assigning to itself keeps the bytes
    std::swap(ledger_, taken.ledger_);
    std::swap(bytes_, taken.bytes_);
    return *this;
  }
  ~Charge() {
    if (ledger_) ledger_->release(bytes_);
  }

  std::uint64_t bytes() const { return bytes_; }

 private:
  Ledger* ledger_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace rangecache::cache
