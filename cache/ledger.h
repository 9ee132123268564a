#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "base/metrics.h"

namespace rangecache::cache {

/// The hard limit of what the cache directory takes on disk (promise 7). Space is reserved before
/// it is written and released when the disk has it back: after the unlink, or after the last
/// descriptor of an unlinked file is closed. Lock-free; any thread.
class Ledger {
 public:
  Ledger(std::uint64_t limit_bytes, Metrics& metrics);

  /// False, and nothing reserved, if that would exceed the limit.
  bool try_reserve(std::uint64_t bytes);
  /// For what is on the disk already (found at start): may exceed the limit.
  void charge_existing(std::uint64_t bytes);
  void release(std::uint64_t bytes);

  std::uint64_t used() const { return used_.load(std::memory_order_relaxed); }
  std::uint64_t limit() const { return limit_; }

  /// What a file of `size` bytes may take: whole 4 KiB blocks, and one more for an extended
  /// attribute or an extent block that does not fit the inode.
  static std::uint64_t chunk_charge(std::uint64_t size) { return (size + 4095) / 4096 * 4096 + 4096; }

 private:
  const std::uint64_t limit_;
  Gauge& gauge_;
  std::atomic<std::uint64_t> used_{0};
};

/// Reserved space that goes back to the ledger when this is dropped. Move-only.
class Charge {
 public:
  Charge() = default;
  Charge(Ledger& ledger, std::uint64_t bytes) : ledger_(&ledger), bytes_(bytes) {}
  Charge(Charge&& other) noexcept
      : ledger_(other.ledger_), bytes_(std::exchange(other.bytes_, 0)) {}
  Charge& operator=(Charge&& other) noexcept {
    std::swap(ledger_, other.ledger_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Charge() {
    if (bytes_ > 0) ledger_->release(bytes_);
  }

 private:
  Ledger* ledger_ = nullptr;
  std::uint64_t bytes_ = 0;
};

}  // namespace rangecache::cache
