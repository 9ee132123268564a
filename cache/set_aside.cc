#include "cache/set_aside.h"

#include <algorithm>
#include <utility>

namespace rangecache::cache {
namespace {

constexpr std::int64_t kFirstDelay_ns = 1'000'000'000;
constexpr std::int64_t kMaxDelay_ns = 60'000'000'000;

}  // namespace

bool SetAside::add(ChunkPtr chunk) {
  MutexLock lock(mu_);
  if (chunk->evicted) return false;  // forget() may have been here already
  Entry& entry = chunks_[chunk.get()];
  if (entry.chunk && entry.out) return false;
  entry.delay_ns =
      entry.chunk ? std::min(2 * entry.delay_ns, kMaxDelay_ns) : std::int64_t{kFirstDelay_ns};
  entry.until_ns = clock_.monotonic_ns() + entry.delay_ns;
  entry.out = true;
  entry.chunk = std::move(chunk);
  return true;
}

void SetAside::forget(Chunk& chunk) {
  MutexLock lock(mu_);
  chunks_.erase(&chunk);
}

bool SetAside::overlaps(const Version& version, ByteRange range) const {
  MutexLock lock(mu_);
  return std::any_of(chunks_.begin(), chunks_.end(), [&](const auto& entry) {
    const Chunk& chunk = *entry.second.chunk;
    return chunk.version == &version && chunk.range.overlaps(range);
  });
}

std::vector<ChunkPtr> SetAside::restore(bool all) {
  std::vector<ChunkPtr> back;
  MutexLock lock(mu_);
  const std::int64_t now = clock_.monotonic_ns();
  for (auto it = chunks_.begin(); it != chunks_.end();) {
    Entry& entry = it->second;
    const bool due = now >= entry.until_ns || (all && entry.out);
    const bool restored = due && entry.chunk->version->insert_in_gap(entry.chunk);
    if (restored && entry.out) back.push_back(entry.chunk);
    if (restored && !entry.out) {
      it = chunks_.erase(it);  // it did not fail again
      continue;
    }
    if (due) entry.out = !restored;
    if (restored) entry.until_ns = now + kMaxDelay_ns;
    ++it;
  }
  return back;
}

std::vector<ChunkPtr> SetAside::chunks() const {
  MutexLock lock(mu_);
  std::vector<ChunkPtr> all;
  for (const auto& [key, entry] : chunks_) all.push_back(entry.chunk);
  return all;
}

}  // namespace rangecache::cache
