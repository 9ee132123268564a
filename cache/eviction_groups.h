#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cache/chunk.h"
#include "cache/eviction.h"
#include "cache/pins.h"

namespace rangecache::cache {

/// At most `limit_bytes` of the disk for objects whose URL begins with `prefix`.
struct Quota {
  std::string prefix;
  std::uint64_t limit_bytes = 0;
};

/// Which chunk goes when room is needed, where quotas and pins have a say. Each quota has an
/// eviction policy of its own, and so has the rest. A full quota makes room in itself; when the
/// whole cache is full, the group gives way that is fullest for its limit, so that nobody lives at
/// another's cost. The longest prefix that fits counts.
///
/// A pinned chunk that would be a victim is taken out of its policy and kept here, until the pins
/// change; but of pinned bytes beyond `max_pinned_bytes` nothing is spared, so that the cache can
/// always work.
///
/// The store thread's, but for touched().
class EvictionGroups {
 public:
  using MakePolicy = std::function<std::unique_ptr<EvictionPolicy>(std::uint64_t limit_bytes)>;

  EvictionGroups(const MakePolicy& make_policy, std::uint64_t limit_bytes,
                 const std::vector<Quota>& quotas, Pins& pins, std::uint64_t max_pinned_bytes);

  /// The chunk was used. Any thread; lock-free.
  void touched(Chunk& chunk) noexcept { groups_[0].policy->touched(chunk); }
  void insert(Chunk& chunk);
  void remove(Chunk& chunk);
  /// nullptr: nothing can go. It stays in: remove() it.
  Chunk* victim();

  /// Space of the quota that `version` belongs to, as the ledger has space of the cache. take()
  /// always succeeds; room_for() says whether it may be, and victim_of() who has to go first.
  bool room_for(Version& version, std::uint64_t bytes);
  Chunk* victim_of(Version& version);
  /// Of a group that has more than its limit, as after a start with a lower one; or nullptr.
  Chunk* victim_over_quota();
  void take(Version& version, std::uint64_t bytes) { group_of(version).used += bytes; }
  void give_back(Version& version, std::uint64_t bytes);

  struct Use {
    std::string prefix;
    std::uint64_t used = 0, limit = 0;
  };
  std::vector<Use> quotas() const;                              ///< any thread
  std::uint64_t pinned_bytes() const { return pinned_bytes_; }  ///< spared so far

 private:
  struct Group {
    Group(std::string url_prefix, std::uint64_t limit_bytes,
          std::unique_ptr<EvictionPolicy> eviction)
        : prefix(std::move(url_prefix)), limit(limit_bytes), policy(std::move(eviction)) {}
    const std::string prefix;  ///< empty: the rest
    const std::uint64_t limit;
    const std::unique_ptr<EvictionPolicy> policy;
    std::atomic<std::uint64_t> used{0};  ///< written by the store thread only
  };
  Group& group_of(Version& version);
  Chunk* victim_in(Group& group);
  void heed_pins();

  std::deque<Group> groups_;  ///< the rest first
  Pins& pins_;
  const std::uint64_t max_pinned_bytes_;
  std::uint64_t pins_serial_ = 0;
  std::unordered_map<Chunk*, ChunkPtr> spared_;
  std::uint64_t pinned_bytes_ = 0;
};

}  // namespace rangecache::cache
