#include "cache/read_plan.h"

#include <algorithm>

namespace rangecache::cache {
namespace {

/// The last entry of `map` that begins at or before `offset`, or end().
template <typename Map>
typename Map::const_iterator last_from(const Map& map, std::uint64_t offset) {
  auto next = map.upper_bound(offset);
  return next == map.begin() ? map.end() : std::prev(next);
}

template <typename Map>
std::uint64_t next_begin(const Map& map, std::uint64_t offset) {
  const auto next = map.upper_bound(offset);
  return next == map.end() ? UINT64_MAX : next->first;
}

std::uint64_t next_chunk_begin(const ChunkTree& chunks, std::uint64_t offset) {
  const Chunk* next = chunks.first_from(offset);
  return next ? next->range.begin : UINT64_MAX;
}

/// Flights are few per version, and a pending part may begin after its flight's begin: a walk
/// finds the first one that is pending at or after `offset`.
std::uint64_t next_pending_begin(const FlightMap& flights, std::uint64_t offset) {
  std::uint64_t next = UINT64_MAX;
  for (const auto& [begin, flight] : flights) {
    if (!flight->pending().empty() && flight->arrived >= offset)
      next = std::min(next, flight->arrived);
  }
  return next;
}

FlightPtr pending_at(const FlightMap& flights, std::uint64_t offset) {
  for (auto it = last_from(flights, offset); it != flights.end(); --it) {
    if (it->second->pending().contains(offset)) return it->second;
    if (it == flights.begin()) break;
  }
  return nullptr;
}

}  // namespace

std::vector<PlanPart> plan_read(ByteRange range, const ChunkTree& chunks, const PieceMap& pieces,
                                const FlightMap& flights) {
  std::vector<PlanPart> plan;
  std::uint64_t at = range.begin;
  while (at < range.end) {
    PlanPart part{PlanPart::Kind::kGap, {at, range.end}, {}, {}, {}};
    const auto piece = last_from(pieces, at);
    if (piece != pieces.end() && piece->second->filled().contains(at)) {
      part.kind = PlanPart::Kind::kPiece;
      part.piece = piece->second;
      part.range.end = std::min(range.end, piece->second->filled().end);
    } else if (Chunk* chunk = chunks.covering(at)) {
      part.kind = PlanPart::Kind::kChunk;
      part.chunk = ChunkPtr(chunk);
      part.range.end = std::min(range.end, chunk->range.end);
    } else {
      part.range.end = std::min({range.end, next_chunk_begin(chunks, at), next_begin(pieces, at)});
      if ((part.flight = pending_at(flights, at))) {
        part.kind = PlanPart::Kind::kFlight;
        part.range.end = std::min(part.range.end, part.flight->range.end);
      } else {
        part.range.end = std::min(part.range.end, next_pending_begin(flights, at));
      }
    }
    at = part.range.end;
    plan.push_back(std::move(part));
  }
  return plan;
}

}  // namespace rangecache::cache
