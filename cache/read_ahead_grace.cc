#include "cache/read_ahead_grace.h"

#include <utility>

namespace rangecache::cache {

void ReadAheadGrace::add(ChunkPtr chunk) {
  bytes_ += chunk->pages * EvictionHook::kPageSize;
  const Chunk* key = chunk.get();
  queue_.push_back({std::move(chunk), clock_.monotonic_ns() + kGrace_ns});
  by_chunk_[key] = std::prev(queue_.end());
}

bool ReadAheadGrace::remove(Chunk& chunk) {
  const auto found = by_chunk_.find(&chunk);
  if (found == by_chunk_.end()) return false;
  const ChunkPtr keep = std::move(found->second->chunk);
  bytes_ -= keep->pages * EvictionHook::kPageSize;
  queue_.erase(found->second);
  by_chunk_.erase(found);
  return true;
}

ChunkPtr ReadAheadGrace::leave(bool force) {
  if (queue_.empty()) return {};
  const Waiting& oldest = queue_.front();
  const bool used = !oldest.chunk->unread_ahead.load(std::memory_order_relaxed);
  if (!force && !used && bytes_ <= max_bytes_ && clock_.monotonic_ns() < oldest.until_ns) return {};
  ChunkPtr chunk = oldest.chunk;
  remove(*chunk);
  return chunk;
}

}  // namespace rangecache::cache
