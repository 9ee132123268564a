#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace rangecache::cache {

/// What an eviction policy keeps in each of its entries (a base of Chunk, of which there are
/// millions). All of it belongs to the policy's thread, but for what EvictionPolicy::touched()
/// writes.
class EvictionHook {
 public:
  EvictionHook() = default;
  EvictionHook(const EvictionHook&) = delete;
  EvictionHook& operator=(const EvictionHook&) = delete;

  static constexpr std::uint64_t kPageSize = 4096;
  static constexpr std::uint8_t kMaxFrequency = 3;
  enum class Queue : std::uint32_t { kNone, kSmall, kMain };

  // The caller's, constant while in a policy.
  std::uint32_t pages : 29 = 0;  ///< the entry's weight, in kPageSize: up to 2 TiB
  /// The caller's own mark, at any time: it shares this word because there are millions of them.
  bool counted : 1 = false;

  // The policy's own.
  Queue queue : 2 = Queue::kNone;

  /// Recognises the same data when it comes again; the caller's. 32 bits are enough: a false match
  /// only lets a newcomer into the main queue, one in a thousand with four million ghosts.
  std::uint32_t ghost_key = 0;

  struct Links {
    EvictionHook* prev;
    EvictionHook* next;
  };
  struct Uses {
    std::uint64_t last;    ///< written by readers: std::atomic_ref only
    std::uint64_t queued;  ///< what `last` was when the entry was queued
  };
  union {
    Links links{nullptr, nullptr};  ///< S3-FIFO
    Uses uses;                      ///< LRU
  };
  mutable std::atomic<std::uint8_t> frequency{0};

 protected:
  ~EvictionHook() = default;
};

/// Which entry goes when room is needed. Entries belong to the caller and stay where they are
/// until remove(). One thread only, but for touched(); it does no I/O.
class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  EvictionPolicy() = default;
  EvictionPolicy(const EvictionPolicy&) = delete;
  EvictionPolicy& operator=(const EvictionPolicy&) = delete;

  /// The entry was used. Any thread, also while the policy works and before insert(); lock-free.
  virtual void touched(EvictionHook& entry) noexcept = 0;
  /// `entry` must be in no policy, its pages and ghost_key set.
  virtual void insert(EvictionHook& entry) = 0;
  /// `entry` must be in this policy. For victims and for what goes for other reasons.
  virtual void remove(EvictionHook& entry) = 0;
  /// The entry to evict next; nullptr if there is none. It stays in: remove() it.
  virtual EvictionHook* victim() = 0;
  /// The sum of the entries' weights, in bytes.
  virtual std::uint64_t bytes() const = 0;
};

/// S3-FIFO (Yang et al., SOSP 2023). What is new waits in a small queue, a tenth of the limit, and
/// leaves it soon unless it is used twice there: a scan passes through without displacing what is
/// used again and again. Who was evicted from there and comes back soon is known by its key (the
/// ghosts) and goes to the main queue at once.
///
///     new ──► small ──used twice──► main ──┐ used: round again, one use forgotten
///               │                    ▲ ▲   │
///             evicted, key ──► ghost─┘ └───┤
///                                          └─ not used: evicted
std::unique_ptr<EvictionPolicy> make_s3_fifo(std::uint64_t limit_bytes);

/// Least recently used, exactly; each use costs an increment that all readers share. The
/// yardstick, and a setting for who knows that his load likes it.
std::unique_ptr<EvictionPolicy> make_lru();

}  // namespace rangecache::cache
