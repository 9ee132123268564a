#include "cache/eviction.h"

#include <algorithm>
#include <deque>
#include <unordered_map>

#include "base/check.h"

namespace rangecache::cache {
namespace {

/// An intrusive first-in-first-out queue that counts bytes.
class Queue {
 public:
  explicit Queue(std::uint8_t tag) : tag_(tag) {}

  void push(EvictionHook& element) {
    CHECK(element.queue == 0);
    element.queue = tag_;
    element.previous = newest_;
    element.next = nullptr;
    (newest_ ? newest_->next : oldest_) = &element;
    newest_ = &element;
    bytes_ += element.bytes;
    ++count_;
  }
  void remove(EvictionHook& element) {
    CHECK(element.queue == tag_);
    (element.previous ? element.previous->next : oldest_) = element.next;
    (element.next ? element.next->previous : newest_) = element.previous;
    element.queue = 0;
    bytes_ -= element.bytes;
    --count_;
  }
  EvictionHook* oldest() const { return oldest_; }
  std::uint64_t bytes() const { return bytes_; }
  std::size_t count() const { return count_; }

 private:
  const std::uint8_t tag_;
  EvictionHook* oldest_ = nullptr;
  EvictionHook* newest_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::size_t count_ = 0;
};

constexpr std::uint8_t kSmall = 1;
constexpr std::uint8_t kMain = 2;

/// The keys of what was evicted from the small queue lately.
class Ghosts {
 public:
  void add(std::uint64_t key, std::size_t limit) {
    ++counts_[key];
    order_.push_back(key);
    while (order_.size() > limit) {
      forget(order_.front());
      order_.pop_front();
    }
  }
  bool contains(std::uint64_t key) const { return counts_.count(key) > 0; }

 private:
  void forget(std::uint64_t key) {
    const auto found = counts_.find(key);
    if (--found->second == 0) counts_.erase(found);
  }
  std::unordered_map<std::uint64_t, std::uint32_t> counts_;
  std::deque<std::uint64_t> order_;
};

class S3Fifo final : public EvictionPolicy {
 public:
  explicit S3Fifo(std::uint64_t limit_bytes) : small_target_(limit_bytes / 10) {}

  void insert(EvictionHook& element) override {
    element.uses = 0;
    (ghosts_.contains(element.ghost_key) ? main_ : small_).push(element);
  }

  void remove(EvictionHook& element) override {
    if (element.queue == kSmall) {
      if (element.uses <= 1) ghosts_.add(element.ghost_key, std::max<std::size_t>(64, main_.count()));
      small_.remove(element);
    } else {
      main_.remove(element);
    }
  }

  EvictionHook* victim() override {
    for (;;) {
      if (small_.oldest() && (small_.bytes() > small_target_ || !main_.oldest())) {
        EvictionHook& oldest = *small_.oldest();
        if (oldest.uses <= 1) return &oldest;
        small_.remove(oldest);  // used again while it was new: it has earned its place
        oldest.uses = 0;
        main_.push(oldest);
      } else if (main_.oldest()) {
        EvictionHook& oldest = *main_.oldest();
        const std::uint8_t uses = oldest.uses;
        if (uses == 0) return &oldest;
        oldest.uses = uses - 1;
        main_.remove(oldest);
        main_.push(oldest);
      } else {
        return nullptr;
      }
    }
  }

 private:
  const std::uint64_t small_target_;
  Queue small_{kSmall};
  Queue main_{kMain};
  Ghosts ghosts_;
};

class SecondChance final : public EvictionPolicy {
 public:
  void insert(EvictionHook& element) override {
    element.uses = 0;
    queue_.push(element);
  }
  void remove(EvictionHook& element) override { queue_.remove(element); }
  EvictionHook* victim() override {
    while (EvictionHook* oldest = queue_.oldest()) {
      if (oldest->uses == 0) return oldest;
      oldest->uses = 0;
      queue_.remove(*oldest);
      queue_.push(*oldest);
    }
    return nullptr;
  }

 private:
  Queue queue_{kMain};
};

}  // namespace

std::unique_ptr<EvictionPolicy> make_s3_fifo(std::uint64_t limit_bytes) {
  return std::make_unique<S3Fifo>(limit_bytes);
}

std::unique_ptr<EvictionPolicy> make_lru() { return std::make_unique<SecondChance>(); }

}  // namespace rangecache::cache
