#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace rangecache::cache {

/// What a chunk carries to be known to an EvictionPolicy. All but touched() belongs to the thread
/// that owns the policy.
class EvictionHook {
 public:
  /// A reader used it. Any thread, no lock: one relaxed store at most, none when it is hot.
  void touched() noexcept {
    const std::uint8_t seen = uses.load(std::memory_order_relaxed);
    if (seen < kMaxUses) uses.store(seen + 1, std::memory_order_relaxed);
  }

  static constexpr std::uint8_t kMaxUses = 3;

  std::uint64_t bytes = 0;      ///< what evicting it brings
  std::uint64_t ghost_key = 0;  ///< the same when the same bytes come again
  EvictionHook* previous = nullptr;
  EvictionHook* next = nullptr;
  std::uint8_t queue = 0;  ///< 0: in none
  std::atomic<std::uint8_t> uses{0};

 protected:
  EvictionHook() = default;
  ~EvictionHook() = default;
};

/// Who goes first. Owned by one thread; elements are not owned.
class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  virtual void insert(EvictionHook& element) = 0;
  virtual void remove(EvictionHook& element) = 0;  ///< evicted, or gone for another reason
  /// Whom to evict next; nullptr if there is nobody. Does not remove it.
  virtual EvictionHook* victim() = 0;
};

/// S3-FIFO (Yang et al., SOSP'23), over bytes: newcomers pass through a small queue (a tenth), so
/// that what is read once, as in a scan, does not push out what is read again; a ghost queue of
/// keys gives what was pushed out too early a place in the main queue.
std::unique_ptr<EvictionPolicy> make_s3_fifo(std::uint64_t limit_bytes);

/// Least recently used, approximated by second chance (an element used since it was last looked at
/// goes to the back): the yardstick.
std::unique_ptr<EvictionPolicy> make_lru();

}  // namespace rangecache::cache
