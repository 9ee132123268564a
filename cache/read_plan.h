#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "cache/chunk.h"
#include "cache/flight.h"
#include "cache/piece.h"
#include "rangecache/byte_range.h"

namespace rangecache::cache {

using ChunkTree = IntervalTree<Chunk, &Chunk::interval, &Chunk::range>;
using PieceMap = std::map<std::uint64_t, std::shared_ptr<Piece>>;  ///< by begin, disjoint
using FlightMap = std::map<std::uint64_t, FlightPtr>;              ///< by range.begin

/// How one stretch of a read is answered.
struct PlanPart {
  enum class Kind {
    kChunk,   ///< on disk
    kPiece,   ///< in memory, arrived
    kFlight,  ///< under way
    kGap,     ///< nobody fetches it yet
  };
  Kind kind;
  ByteRange range;
  ChunkPtr chunk;                ///< kChunk
  std::shared_ptr<Piece> piece;  ///< kPiece
  FlightPtr flight;              ///< kFlight
};

/// Covers `range` with parts, in order, disjoint, without holes.
///
///     range    |---------------------------------|
///     chunks      [====)            [=====)
///     pieces           [##)
///     flights              [~~~~~)
///     plan     gap chunk pc flight gap chunk  gap
///
/// The cheapest source wins where several have a byte: memory, then chunk, then flight.
std::vector<PlanPart> plan_read(ByteRange range, const ChunkTree& chunks, const PieceMap& pieces,
                                const FlightMap& flights);

}  // namespace rangecache::cache
