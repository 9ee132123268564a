#include "cache/dense_regions.h"

#include <algorithm>
#include <bit>

namespace rangecache::cache {

std::optional<ByteRange> DenseRegions::touched(ByteRange read) {
  std::optional<ByteRange> dense;
  // A read longer than a region is a stream's business.
  read.end = std::min(read.end, read.begin + kRegion);
  for (std::uint64_t cell = read.begin / kCell; cell * kCell < read.end; ++cell) {
    if (read.intersect(ByteRange::at(cell * kCell, kCell)).size() < kCell / 2) continue;
    std::uint64_t& bits = cells_[cell / kCells];
    const int before = std::popcount(bits);
    bits |= std::uint64_t{1} << (cell % kCells);
    if (before < kDense && std::popcount(bits) >= kDense)
      dense = ByteRange::at(cell / kCells * kRegion, kRegion);
  }
  while (cells_.size() > kMaxRegions) cells_.erase(cells_.begin());
  return dense;
}

}  // namespace rangecache::cache
