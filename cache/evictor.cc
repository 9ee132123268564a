#include "cache/evictor.h"

#include "base/check.h"
#include "cache/piece.h"
#include "cache/version.h"

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kEvictOnNoSpace = 16 * kPieceSize;
constexpr int kMaxStuck = 4;
constexpr int kTrimSlice = 8;  // chunks, before others on the store thread have their turn

}  // namespace

Evictor::Evictor(Parts parts, Remove remove)
    : parts_(parts),
      remove_(std::move(remove)),
      evicted_chunks_(
          parts.metrics.counter("rangecache_evicted_chunks_total", "Chunks removed to make room")),
      evicted_bytes_(parts.metrics.counter("rangecache_evicted_bytes_total",
                                           "Bytes of chunks removed to make room")),
      wasted_ahead_bytes_(parts.metrics.counter("rangecache_read_ahead_wasted_bytes_total",
                                                "Bytes read ahead and evicted before any use")),
      chunks_(parts.metrics.gauge("rangecache_chunks", "Chunks on disk")),
      marks_(Watermarks::of(parts.ledger.limit())),
      grace_(parts.clock, parts.ledger.limit() / 8) {}

void Evictor::insert(Chunk& chunk, bool read_ahead) {
  chunk.counted = true;
  chunk.pages = static_cast<std::uint32_t>(Ledger::chunk_charge(chunk.range.size()) /
                                           EvictionHook::kPageSize);
  chunk.ghost_key = static_cast<std::uint32_t>(
      ((chunk.version->id().low ^ chunk.range.begin) * 0x9e3779b97f4a7c15ULL) >> 32);
  if (read_ahead) {
    chunk.unread_ahead = true;
    parts_.open_chunks.unused_ahead().add(static_cast<std::int64_t>(chunk.range.size()));
    grace_.add(ChunkPtr(&chunk));
  } else {
    parts_.groups.insert(chunk);
  }
  chunks_.add(1);
  end_grace();
}

std::uint64_t Evictor::erase(Chunk& chunk) {
  CHECK(chunk.counted);
  chunk.counted = false;
  if (!grace_.remove(chunk)) parts_.groups.remove(chunk);
  if (chunk.unread_ahead.exchange(false))
    parts_.open_chunks.unused_ahead().add(-static_cast<std::int64_t>(chunk.range.size()));
  chunks_.add(-1);
  return Ledger::chunk_charge(chunk.range.size());
}

bool Evictor::reserve(std::uint64_t bytes) {
  if (!fits_beside_strays(bytes)) return false;
  // Where files cannot be deleted, forgetting more of them makes no room.
  for (int stuck = 0; !parts_.ledger.try_reserve(bytes);) {
    if (stuck == kMaxStuck) return false;
    const Outcome outcome = evict_one();
    if (outcome == Outcome::kNothingLeft) return false;
    if (outcome == Outcome::kStuck) ++stuck;
  }
  return true;
}

bool Evictor::make_room_in_quota(Version& version, std::uint64_t bytes) {
  while (!parts_.groups.room_for(version, bytes)) {
    if (Chunk* victim = parts_.groups.victim_of(version)) {
      if (evict(*victim) == Outcome::kStuck) return false;
    } else if (!end_oldest_grace()) {
      return false;
    }
  }
  return true;
}

bool Evictor::leaves_floor(std::uint64_t bytes) {
  std::uint64_t missing = parts_.free_space.missing_for(bytes);  // it may look, and see
  if (parts_.free_space.below()) return false;
  for (int i = 0; missing > 0 && i < kTrimSlice; ++i) {
    if (evict_one() == Outcome::kNothingLeft) return false;
    missing = parts_.free_space.missing_for(bytes);
  }
  return missing == 0;
}

void Evictor::make_room_on_full_disk() {
  for (std::uint64_t freed = 0; freed < kEvictOnNoSpace; freed += kPieceSize) {
    if (evict_one() == Outcome::kNothingLeft) return;
  }
}

void Evictor::shrink_to_limits() {
  while (parts_.ledger.used() > parts_.ledger.limit() && evict_one() != Outcome::kNothingLeft) {
  }
  while (Chunk* victim = parts_.groups.victim_over_quota()) {
    if (evict(*victim) == Outcome::kStuck) return;
  }
}

bool Evictor::wants_trim() {
  const std::uint64_t used = parts_.ledger.used();
  trimming_ = used > (trimming_ ? marks_.low : marks_.high);
  // Files of a disk that fails cannot be counted on to go; of a full one, they can.
  if (!parts_.breaker.writes_allowed() && parts_.breaker.cause() != ErrorCode::kNoSpace)
    return false;
  return trimming_ || parts_.free_space.missing() > 0;
}

bool Evictor::trim() {
  for (int i = 0; i < kTrimSlice; ++i) {
    if (!wants_trim() || evict_one() != Outcome::kFreed) return false;
  }
  return true;
}

void Evictor::end_grace() {
  while (const ChunkPtr chunk = grace_.leave()) parts_.groups.insert(*chunk);
}

bool Evictor::end_oldest_grace() {
  const ChunkPtr chunk = grace_.leave(/*force=*/true);
  if (!chunk) return false;
  parts_.groups.insert(*chunk);
  return true;
}

bool Evictor::fits_beside_strays(std::uint64_t bytes) const {
  return strays_ == 0 || (strays_ <= parts_.ledger.limit() &&
                          parts_.ledger.used() + bytes <= parts_.ledger.limit() - strays_);
}

Evictor::Outcome Evictor::evict_one() {
  end_grace();
  Chunk* victim = parts_.groups.victim();
  if (!victim && end_oldest_grace()) victim = parts_.groups.victim();
  return victim ? evict(*victim) : Outcome::kNothingLeft;
}

Evictor::Outcome Evictor::evict(Chunk& victim) {
  evicted_chunks_.add();
  evicted_bytes_.add(victim.range.size());
  if (victim.unread_ahead) wasted_ahead_bytes_.add(victim.range.size());
  return remove_(victim) ? Outcome::kFreed : Outcome::kStuck;
}

}  // namespace rangecache::cache
