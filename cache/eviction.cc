#include "cache/eviction.h"

#include <algorithm>
#include <deque>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/check.h"

namespace rangecache::cache {
namespace {

std::uint64_t bytes_of(const EvictionHook& entry) { return entry.pages * EvictionHook::kPageSize; }

/// A queue of hooks that knows their bytes. Entries that are left in it when it ends are not
/// touched: they may be gone.
class HookQueue {
 public:
  explicit HookQueue(EvictionHook::Queue tag) : tag_(tag) {}

  EvictionHook* front() const { return front_; }
  std::uint64_t bytes() const { return bytes_; }
  std::size_t count() const { return count_; }

  void push_back(EvictionHook& entry) {
    entry.queue = tag_;
    entry.links.next = nullptr;
    entry.links.prev = std::exchange(back_, &entry);
    (entry.links.prev ? entry.links.prev->links.next : front_) = &entry;
    bytes_ += bytes_of(entry);
    ++count_;
  }

  void remove(EvictionHook& entry) {
    CHECK(entry.queue == tag_);
    const EvictionHook::Links links = std::exchange(entry.links, {nullptr, nullptr});
    (links.prev ? links.prev->links.next : front_) = links.next;
    (links.next ? links.next->links.prev : back_) = links.prev;
    entry.queue = EvictionHook::Queue::kNone;
    bytes_ -= bytes_of(entry);
    --count_;
  }

 private:
  const EvictionHook::Queue tag_;
  EvictionHook* front_ = nullptr;
  EvictionHook* back_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::size_t count_ = 0;
};

/// The keys evicted last, oldest forgotten first.
class Ghosts {
 public:
  void add(std::uint32_t key, std::size_t limit) {
    newest_[key] = ++serial_;
    order_.push_back({key, serial_});
    while (order_.size() > limit) {
      const auto [old_key, old_serial] = order_.front();
      order_.pop_front();
      const auto found = newest_.find(old_key);
      if (found != newest_.end() && found->second == old_serial) newest_.erase(found);
    }
  }
  bool take(std::uint32_t key) { return newest_.erase(key) > 0; }

 private:
  struct Added {
    std::uint32_t key;
    std::uint64_t serial;
  };
  std::deque<Added> order_;  ///< with entries that newest_ does not know any more
  std::unordered_map<std::uint32_t, std::uint64_t> newest_;
  std::uint64_t serial_ = 0;
};

class S3Fifo final : public EvictionPolicy {
 public:
  explicit S3Fifo(std::uint64_t limit_bytes) : small_target_(limit_bytes / 10) {}

  void touched(EvictionHook& entry) noexcept override {
    // Load and store, not an atomic increment: a bump lost in a race does not matter, and an entry
    // that is hot already costs its readers no write to a shared cache line.
    const std::uint8_t f = entry.frequency.load(std::memory_order_relaxed);
    if (f < EvictionHook::kMaxFrequency) entry.frequency.store(f + 1, std::memory_order_relaxed);
  }

  void insert(EvictionHook& entry) override {
    CHECK(entry.queue == EvictionHook::Queue::kNone);
    entry.frequency.store(0, std::memory_order_relaxed);
    (ghosts_.take(entry.ghost_key) ? main_ : small_).push_back(entry);
  }

  void remove(EvictionHook& entry) override {
    (entry.queue == EvictionHook::Queue::kSmall ? small_ : main_).remove(entry);
  }

  EvictionHook* victim() override {
    // Every step moves an entry on or forgets one of its uses, so this ends; unless readers touch
    // faster than that. Then the one in front goes, used or not.
    std::size_t steps = (EvictionHook::kMaxFrequency + 2) * (small_.count() + main_.count());
    for (;;) {
      const bool from_small = small_.front() && (small_.bytes() > small_target_ || !main_.front());
      EvictionHook* entry = from_small ? small_.front() : main_.front();
      if (!entry) return nullptr;
      const std::uint8_t uses = entry->frequency.load(std::memory_order_relaxed);
      if (steps == 0 || uses < (from_small ? kUsesToStay : 1)) {
        if (from_small) ghosts_.add(entry->ghost_key, ghost_limit());
        return entry;
      }
      --steps;
      remove(*entry);
      entry->frequency.store(from_small ? 0 : uses - 1, std::memory_order_relaxed);
      main_.push_back(*entry);
    }
  }

  std::uint64_t bytes() const override { return small_.bytes() + main_.bytes(); }

 private:
  static constexpr std::uint8_t kUsesToStay = 2;
  static constexpr std::size_t kMinGhosts = 64;

  std::size_t ghost_limit() const { return std::max(kMinGhosts, small_.count() + main_.count()); }

  const std::uint64_t small_target_;
  HookQueue small_{EvictionHook::Queue::kSmall};
  HookQueue main_{EvictionHook::Queue::kMain};
  Ghosts ghosts_;
};

/// A set ordered by the last use that the policy knows of. Uses since then only make an entry
/// younger: so if the first one was not used since, it is the oldest of all; if it was, it takes
/// its new place and the next one is asked.
class Lru final : public EvictionPolicy {
 public:
  void touched(EvictionHook& entry) noexcept override { used_now(entry); }

  void insert(EvictionHook& entry) override {
    CHECK(entry.queue == EvictionHook::Queue::kNone);
    entry.queue = EvictionHook::Queue::kMain;
    used_now(entry);
    enqueue(entry);
    bytes_ += bytes_of(entry);
  }

  void remove(EvictionHook& entry) override {
    CHECK(by_use_.erase({entry.uses.queued, &entry}) == 1);
    entry.queue = EvictionHook::Queue::kNone;
    bytes_ -= bytes_of(entry);
  }

  EvictionHook* victim() override {
    // As in S3Fifo: bounded, because readers go on touching.
    for (std::size_t steps = by_use_.size(); steps > 0; --steps) {
      EvictionHook& entry = *by_use_.begin()->second;
      if (last_use(entry).load(std::memory_order_relaxed) == entry.uses.queued) return &entry;
      by_use_.erase(by_use_.begin());
      enqueue(entry);
    }
    return by_use_.empty() ? nullptr : by_use_.begin()->second;
  }

  std::uint64_t bytes() const override { return bytes_; }

 private:
  static std::atomic_ref<std::uint64_t> last_use(EvictionHook& entry) {
    return std::atomic_ref<std::uint64_t>(entry.uses.last);
  }
  void used_now(EvictionHook& entry) noexcept {
    last_use(entry).store(1 + counter_.fetch_add(1, std::memory_order_relaxed),
                          std::memory_order_relaxed);
  }
  void enqueue(EvictionHook& entry) {
    entry.uses.queued = last_use(entry).load(std::memory_order_relaxed);
    by_use_.insert({entry.uses.queued, &entry});
  }

  /// One for all: an entry is touched through any of them, whichever it is in.
  static inline std::atomic<std::uint64_t> counter_{0};

  std::set<std::pair<std::uint64_t, EvictionHook*>> by_use_;
  std::uint64_t bytes_ = 0;
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_s3_fifo(std::uint64_t limit_bytes) {
  return std::make_unique<S3Fifo>(limit_bytes);
}

std::unique_ptr<EvictionPolicy> make_lru() { return std::make_unique<Lru>(); }

}  // namespace rangecache::cache
