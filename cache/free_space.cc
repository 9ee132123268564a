#include "cache/free_space.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace rangecache::cache {
namespace {

constexpr std::int64_t kLookInterval_ns = 1'000'000'000;
constexpr std::uint64_t kMinMargin = 1 << 20, kMaxMargin = 64 << 20;

std::uint64_t less(std::uint64_t a, std::uint64_t b) { return a - std::min(a, b); }

}  // namespace

FreeSpace::FreeSpace(FileSystem& files, std::string directory, std::uint64_t floor,
                     const Clock& clock, Metrics& metrics)
    : files_(files),
      directory_(std::move(directory)),
      floor_(floor),
      clock_(clock),
      free_gauge_(metrics.gauge("rangecache_disk_free_bytes",
                                "Free space of the file system that the cache is on")),
      below_gauge_(metrics.gauge("rangecache_disk_below_floor",
                                 "1 while too little disk is free to keep anything new")) {
  metrics.gauge("rangecache_disk_floor_bytes", "Free disk space that the cache leaves to others")
      .set(static_cast<std::int64_t>(floor));
}

std::uint64_t FreeSpace::margin() const { return std::clamp(floor_ / 16, kMinMargin, kMaxMargin); }

void FreeSpace::look() {
  if (floor_ == 0) return;
  looked_at_ns_ = clock_.monotonic_ns();
  const auto free = files_.free_bytes(directory_);
  if (!free) return;
  free_ = less(*free, pending_);
  free_gauge_.set(static_cast<std::int64_t>(*free));
  const bool below = free_ < (below_ ? floor_ + margin() : floor_);
  if (below == std::exchange(below_, below)) return;
  below_gauge_.set(below);
  if (below) {
    log_warning(
        "only {} MiB of disk are free at {} ({} MiB must be, see --keep-free): the cache gives way",
        *free >> 20, directory_, floor_ >> 20);
  } else {
    log_info("enough disk is free at {} again: the cache keeps what is read", directory_);
  }
}

std::uint64_t FreeSpace::missing() const { return below_ ? less(floor_ + margin(), free_) : 0; }

std::uint64_t FreeSpace::missing_for(std::uint64_t bytes) {
  if (floor_ == 0) return 0;
  if (free_ < floor_ + bytes || looked_at_ns_ == INT64_MIN ||
      clock_.monotonic_ns() - looked_at_ns_ >= kLookInterval_ns) {
    look();
  }
  return less(floor_ + bytes, free_);
}

void FreeSpace::begin(std::uint64_t bytes) {
  pending_ += bytes;
  free_ = less(free_, bytes);
}

void FreeSpace::finished(std::uint64_t begun, bool kept) {
  CHECK(begun <= pending_);
  pending_ -= begun;
  if (!kept) free_ += begun;
}

}  // namespace rangecache::cache
