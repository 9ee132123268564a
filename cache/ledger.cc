#include "cache/ledger.h"

#include "base/check.h"

namespace rangecache::cache {

Ledger::Ledger(std::uint64_t limit_bytes, Metrics& metrics)
    : limit_(limit_bytes),
      gauge_(metrics.gauge("rangecache_disk_bytes", "Disk space reserved or used by the cache")) {
  metrics.gauge("rangecache_disk_limit_bytes", "Limit of rangecache_disk_bytes")
      .set(static_cast<std::int64_t>(limit_bytes));
}

bool Ledger::try_reserve(std::uint64_t bytes) {
  std::uint64_t used = used_.load(std::memory_order_relaxed);
  do {
    if (bytes > limit_ || used > limit_ - bytes) return false;
  } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
  gauge_.add(static_cast<std::int64_t>(bytes));
  return true;
}

void Ledger::charge_existing(std::uint64_t bytes) {
  used_.fetch_add(bytes, std::memory_order_relaxed);
  gauge_.add(static_cast<std::int64_t>(bytes));
}

void Ledger::release(std::uint64_t bytes) {
  const std::uint64_t before = used_.fetch_sub(bytes, std::memory_order_relaxed);
  CHECK(before >= bytes);
  gauge_.add(-static_cast<std::int64_t>(bytes));
}

}  // namespace rangecache::cache
