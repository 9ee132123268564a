#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace rangecache::cache {

/// What an eviction policy keeps in each of its entries (a base of Chunk). All of it belongs to
/// the policy's thread, but for touched().
class EvictionHook {
 public:
  EvictionHook() = default;
  EvictionHook(const EvictionHook&) = delete;
  EvictionHook& operator=(const EvictionHook&) = delete;

  /// The entry was used. Any thread, also while the policy works and before insert(); lock-free.
  void touched() const noexcept {
    // Load and store, not an atomic increment: a bump lost in a race does not matter, and an entry
    // that is hot already costs its readers no write to a shared cache line.
    const std::uint8_t f = frequency.load(std::memory_order_relaxed);
    if (f < kMaxFrequency) frequency.store(f + 1, std::memory_order_relaxed);
    if (auto* counter = use_counter.load(std::memory_order_acquire)) {
      last_use.store(1 + counter->fetch_add(1, std::memory_order_relaxed),
                     std::memory_order_relaxed);
    }
  }

  static constexpr std::uint8_t kMaxFrequency = 3;
  enum class Queue : std::uint8_t { kNone, kSmall, kMain };

  std::uint64_t bytes = 0;      ///< the entry's weight; constant while in a policy
  std::uint64_t ghost_key = 0;  ///< recognises the same data when it comes again; constant

  // The policy's own.
  EvictionHook* prev = nullptr;
  EvictionHook* next = nullptr;
  std::uint64_t queued_use = 0;  ///< last_use when it was queued (Lru)
  mutable std::atomic<std::uint64_t> last_use{0};
  /// Where touched() takes the time from; null where no policy asks for it.
  std::atomic<std::atomic<std::uint64_t>*> use_counter{nullptr};
  mutable std::atomic<std::uint8_t> frequency{0};
  Queue queue = Queue::kNone;

 protected:
  ~EvictionHook() = default;
};

/// Which entry goes when room is needed. Entries belong to the caller and stay where they are
/// until remove(). One thread only; it does no I/O. Must outlive every touched() of an entry that
/// it holds or held.
class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;
  EvictionPolicy() = default;
  EvictionPolicy(const EvictionPolicy&) = delete;
  EvictionPolicy& operator=(const EvictionPolicy&) = delete;

  /// `entry` must be in no policy, its bytes and ghost_key set.
  virtual void insert(EvictionHook& entry) = 0;
  /// `entry` must be in this policy. For victims and for what goes for other reasons.
  virtual void remove(EvictionHook& entry) = 0;
  /// The entry to evict next; nullptr if there is none. It stays in: remove() it.
  virtual EvictionHook* victim() = 0;
  /// The sum of the entries' bytes.
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
