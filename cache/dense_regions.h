#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "rangecache/byte_range.h"

namespace rangecache::cache {

/// Where random reads have had a good part of a region, they will have the rest: it is worth
/// fetching at once. Elsewhere nothing is fetched but what was asked for.
///
///     a region      |.#..##.....#.#......|   64 cells; # read, at least half of it at once
///     a quarter of them read ─► all of it
///
/// So what is fetched in vain is at most six times what was read. Reads that are small for a cell
/// (the pages of a database) never add up to that. Pure; the caller serialises.
class DenseRegions {
 public:
  static constexpr std::uint64_t kCell = 64 << 10;
  static constexpr std::uint64_t kCells = 64;
  static constexpr std::uint64_t kRegion = kCell * kCells;
  static constexpr int kDense = 16;  ///< cells
  /// As many are watched; of more, those at the smallest offsets are forgotten.
  static constexpr std::size_t kMaxRegions = 4096;

  /// Notes a random read; returns the region that has just become dense. It may end beyond the
  /// object.
  std::optional<ByteRange> touched(ByteRange read);

 private:
  std::map<std::uint64_t, std::uint64_t> cells_;  ///< by region; a bit for each cell that was read
};

}  // namespace rangecache::cache
