#include "cache/ledger.h"

#include "base/check.h"

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kDiskBlock = 4096;

}  // namespace

Ledger::Ledger(std::uint64_t limit_bytes, Metrics& metrics)
    : limit_(limit_bytes),
      used_gauge_(metrics.gauge("rangecache_disk_bytes",
                                "Bytes that the cache directory may take now, at most")) {
  metrics.gauge("rangecache_disk_limit_bytes", "The size limit of the cache directory")
      .set(static_cast<std::int64_t>(limit_bytes));
}

bool Ledger::try_reserve(std::uint64_t bytes) {
  std::uint64_t used = used_.load(std::memory_order_relaxed);
  do {
    // charge_existing() may have gone over the limit: compare without a difference that wraps.
    if (used > limit_ || bytes > limit_ - used) return false;
  } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  used_gauge_.add(static_cast<std::int64_t>(bytes));
  return true;
}

void Ledger::charge_existing(std::uint64_t bytes) {
  used_.fetch_add(bytes, std::memory_order_relaxed);
  used_gauge_.add(static_cast<std::int64_t>(bytes));
}

void Ledger::release(std::uint64_t bytes) {
  const std::uint64_t before = used_.fetch_sub(bytes, std::memory_order_relaxed);
  CHECK(bytes <= before);
  used_gauge_.add(-static_cast<std::int64_t>(bytes));
}

std::uint64_t Ledger::chunk_charge(std::uint64_t size) {
  return (size + kDiskBlock - 1) / kDiskBlock * kDiskBlock + kDiskBlock;
}

}  // namespace rangecache::cache
