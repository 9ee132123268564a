#pragma once

#include <cstdint>
#include <vector>

#include "cache/dense_regions.h"
#include "rangecache/byte_range.h"

namespace rangecache::cache {

/// Watches the reads of one open object and says what to fetch before it is asked for.
///
///     reads    |--1--|--2--|--3--|                  forward; backward is the mirror image
///     window                     |=========|        up to kFactor times what the stream has read
///     asked for already                    ^ frontier
///
///     reads    |1|     |2|     |3|     |4|          strided: the next ones at the same distance
///
/// All handles of an object share one: where several read the same place, the kernel spreads the
/// requests of one page cache over their handles, and none of them alone looks like a stream. So
/// many streams are told apart (of several readers, or interleaved on one handle), each by the
/// place where it goes on. Reads of a stream may come reordered, as the kernel's own
/// read-ahead sends them side by side. What goes on nowhere is random: nothing is fetched for it,
/// until such reads have touched a good part of a region (DenseRegions).
///
/// Pure; the caller serialises.
class ReadAhead {
 public:
  struct Options {
    std::uint64_t max_window = 64 << 20;
  };
  /// A stream that stops leaves at most this many times what it has read (and kMinWindow).
  static constexpr std::uint64_t kFactor = 4;
  static constexpr std::uint64_t kMinWindow = 64 << 10;
  static constexpr std::size_t kMaxStreams = 32;

  explicit ReadAhead(Options options) : options_(options) {}

  /// Notes a read; returns the ranges to fetch ahead now, mostly none. They may end beyond the
  /// object.
  std::vector<ByteRange> next(ByteRange read);

 private:
  enum class Direction { kUnknown, kForward, kBackward };
  struct Stream {
    ByteRange covered;        ///< from its first byte to its last
    std::uint64_t bytes = 0;  ///< that were read of it
    Direction direction = Direction::kUnknown;
    int steps_down = 0;          ///< reads that ended where it began
    std::uint64_t frontier = 0;  ///< up to (down to) here bytes were asked for ahead
    std::uint64_t window = 0;    ///< the last one
    std::uint64_t used = 0;      ///< when; the least goes first
  };

  Stream* stream_of(ByteRange read);
  bool joins(const Stream& stream, ByteRange read) const;
  std::vector<ByteRange> go_on(Stream& stream, ByteRange read);
  std::vector<ByteRange> ahead_of(Stream& stream);
  /// With so much asked for ahead, no more is.
  static std::uint64_t enough_ahead(const Stream& stream);
  std::vector<ByteRange> stray(ByteRange read);
  std::vector<ByteRange> strides(ByteRange read);

  const Options options_;
  std::vector<Stream> streams_;
  std::uint64_t clock_ = 0;

  // Of the reads that belong to no stream:
  DenseRegions regions_;
  ByteRange last_stray_;
  std::int64_t stride_ = 0;
  int repeats_ = 0;                  ///< of the same distance
  std::uint64_t strides_asked_ = 0;  ///< so many reads from the last one on were asked for ahead
};

}  // namespace rangecache::cache
