#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "rangecache/byte_range.h"

namespace rangecache::cache {

struct MergeLimits {
  std::uint64_t part_size = 4 << 20;  ///< of an incomplete object: no larger chunk is made
  std::uint64_t whole_size = std::uint64_t{16}
                             << 30;  ///< a complete object up to here is one chunk
};

/// Which neighbours of a version's chunks (in order, disjoint) are worth being one file: each range
/// returned is covered by two or more of them, exactly.
///
///     chunks   [=)[=)[==)   [=)[====)  [=)
///     merges   [=======)                        as each is at least twice its largest member
///
/// A complete object becomes one chunk. Elsewhere neighbours are joined while the sum stays within
/// part_size, and only when it is at least twice the largest of them: so each byte is copied at
/// most log2(part_size / its first chunk) times, however the reads came.
std::vector<ByteRange> plan_merges(std::uint64_t object_size, std::span<const ByteRange> chunks,
                                   const MergeLimits& limits);

}  // namespace rangecache::cache
