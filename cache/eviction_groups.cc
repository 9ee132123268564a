#include "cache/eviction_groups.h"

#include <algorithm>

#include "base/check.h"
#include "cache/version.h"

namespace rangecache::cache {
namespace {

std::uint64_t bytes_of(const Chunk& chunk) { return chunk.pages * EvictionHook::kPageSize; }

}  // namespace

EvictionGroups::EvictionGroups(const MakePolicy& make_policy, std::uint64_t limit_bytes,
                               const std::vector<Quota>& quotas, Pins& pins,
                               std::uint64_t max_pinned_bytes)
    : pins_(pins), max_pinned_bytes_(max_pinned_bytes) {
  groups_.emplace_back("", limit_bytes, make_policy(limit_bytes));
  for (const Quota& quota : quotas)
    groups_.emplace_back(quota.prefix, quota.limit_bytes, make_policy(quota.limit_bytes));
  CHECK(groups_.size() < Version::OnDisk::kNoGroup);
}

EvictionGroups::Group& EvictionGroups::group_of(Version& version) {
  std::uint8_t& group = version.on_disk.group;
  if (group == Version::OnDisk::kNoGroup) {
    group = 0;
    const std::string url = groups_.size() > 1 ? version.url() : "";
    for (std::size_t i = 1; i < groups_.size(); ++i) {
      const std::string& prefix = groups_[i].prefix;
      if (url.compare(0, prefix.size(), prefix) == 0 &&
          prefix.size() > groups_[group].prefix.size())
        group = static_cast<std::uint8_t>(i);
    }
  }
  return groups_[group];
}

void EvictionGroups::insert(Chunk& chunk) { group_of(*chunk.version).policy->insert(chunk); }

void EvictionGroups::remove(Chunk& chunk) {
  const auto spared = spared_.find(&chunk);
  if (spared == spared_.end()) return group_of(*chunk.version).policy->remove(chunk);
  pinned_bytes_ -= bytes_of(chunk);
  spared_.erase(spared);
}

/// Pins that came, went or ended: who was spared takes part again.
void EvictionGroups::heed_pins() {
  const std::uint64_t serial = pins_.serial();
  if (serial == pins_serial_) return;
  pins_serial_ = serial;
  for (const auto& [key, chunk] : spared_) group_of(*chunk->version).policy->insert(*chunk);
  spared_.clear();
  pinned_bytes_ = 0;
}

Chunk* EvictionGroups::victim_in(Group& group) {
  while (EvictionHook* hook = group.policy->victim()) {
    auto* chunk = static_cast<Chunk*>(hook);
    if (!pins_.any() || pinned_bytes_ + bytes_of(*chunk) > max_pinned_bytes_ ||
        !pins_.is_pinned(chunk->version->url())) {
      return chunk;
    }
    group.policy->remove(*chunk);
    spared_.emplace(chunk, ChunkPtr(chunk));
    pinned_bytes_ += bytes_of(*chunk);
  }
  return nullptr;
}

Chunk* EvictionGroups::victim() {
  heed_pins();
  std::vector<Group*> fullest;
  for (Group& group : groups_) fullest.push_back(&group);
  if (groups_.size() > 1) {
    std::sort(fullest.begin(), fullest.end(), [](const Group* a, const Group* b) {
      return static_cast<double>(a->used) * static_cast<double>(b->limit) >
             static_cast<double>(b->used) * static_cast<double>(a->limit);
    });
  }
  for (Group* group : fullest) {
    if (Chunk* chunk = victim_in(*group)) return chunk;
  }
  return nullptr;
}

bool EvictionGroups::room_for(Version& version, std::uint64_t bytes) {
  const Group& group = group_of(version);
  return group.prefix.empty() || group.used + bytes <= group.limit;
}

Chunk* EvictionGroups::victim_of(Version& version) {
  heed_pins();
  return victim_in(group_of(version));
}

Chunk* EvictionGroups::victim_over_quota() {
  heed_pins();
  for (std::size_t i = 1; i < groups_.size(); ++i) {
    if (groups_[i].used <= groups_[i].limit) continue;
    if (Chunk* chunk = victim_in(groups_[i])) return chunk;
  }
  return nullptr;
}

void EvictionGroups::give_back(Version& version, std::uint64_t bytes) {
  Group& group = group_of(version);
  CHECK(bytes <= group.used);
  group.used -= bytes;
}

std::vector<EvictionGroups::Use> EvictionGroups::quotas() const {
  std::vector<Use> uses;
  for (std::size_t i = 1; i < groups_.size(); ++i)
    uses.push_back({groups_[i].prefix, groups_[i].used, groups_[i].limit});
  return uses;
}

}  // namespace rangecache::cache
