#pragma once

#include <algorithm>
#include <cstdint>

#include "cache/piece.h"

namespace rangecache::cache {

/// Where eviction ahead of need begins and ends, in bytes on disk.
///
///     0 ............... low ........ high ...... limit
///                        ◄─ evicted ──┘ │ writes go on meanwhile
///
/// Of a large cache 98 and 95 %, and 16 pieces at least from one mark to the next. A small one
/// keeps 1/32 between them, so that it still uses most of its space.
struct Watermarks {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  static constexpr Watermarks of(std::uint64_t limit) {
    const std::uint64_t small = limit / 32, pieces = 16 * kPieceSize;
    Watermarks marks;
    marks.high = limit - std::min(small, std::max(pieces, limit / 50));
    marks.low = marks.high - std::min(small, std::max(pieces, limit / 100 * 3));
    return marks;
  }
};

}  // namespace rangecache::cache
