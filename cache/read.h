#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "base/origin.h"
#include "base/slice.h"
#include "rangecache/byte_range.h"

namespace rangecache::cache {

class Piece;

/// One reader's request on its way. It is cut into parts, each of which is either ready (a slice
/// that pins its bytes, so that no eviction can take them back) or waits for a flight or for a
/// chunk file to be opened. While it waits it does not pin the memory of a piece for longer than
/// the piece is there anyway: then the part waits for the piece's chunk to be opened. Guarded by
/// the version's lock, but for the callback, which belongs to whoever finished the read.
struct Read {
  Read(ByteRange read_range, std::int64_t now_ns, Callback<Slices> done)
      : range(read_range), started_ns(now_ns), callback(std::move(done)) {}

  struct Part {
    ByteRange range;
    bool ready = false;
    Slice slice;
    std::shared_ptr<Piece> piece;  ///< that the slice is of; null: of no piece
    bool noted = false;            ///< the piece knows that the read waits
  };

  const ByteRange range;
  const std::int64_t started_ns;        ///< Clock::monotonic_ns()
  std::map<std::uint64_t, Part> parts;  ///< by begin; disjoint; together they cover `range`
  std::size_t unready = 0;
  int replans = 0;        ///< how often a part had to be planned again; bounded
  bool finished = false;  ///< the callback was, or is about to be, called
  Callback<Slices> callback;
};
using ReadPtr = std::shared_ptr<Read>;

}  // namespace rangecache::cache
