#pragma once

#include <cstdint>
#include <vector>

#include "cache/dense_regions.h"
#include "rangecache/byte_range.h"

namespace rangecache::cache {

/// What a ReadAhead goes by, besides the reads. 0: not known.
struct ReadConditions {
  std::uint64_t object_size = 0;
  std::int64_t now_ns = 0;   ///< Clock::monotonic_ns()
  std::int64_t part_ns = 0;  ///< from asking for a part until all of it is there
};

/// Watches the reads of one open object and says what to fetch before it is asked for.
///
///     reads    |--1--|--2--|--3--|                  forward; backward is the mirror image
///     window                     |=========|        up to kFactor times what the stream has read,
///                                                   and what its reader needs on its way
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
    std::uint64_t max_window = 256 << 20;
    /// Objects of this size or less are fetched whole once kReadsToWhole reads of them were
    /// random; 0: none.
    std::uint64_t whole_size = 0;
  };
  /// A stream that stops leaves at most this many times what it has read (and kMinWindow).
  static constexpr std::uint64_t kFactor = 4;
  static constexpr std::uint64_t kMinWindow = 64 << 10;
  /// As long as nothing is known of how fast parts come; and the least where it is known.
  static constexpr std::uint64_t kUsualWindow = 64 << 20;
  static constexpr std::uint64_t kSteadyWindow = 8 << 20;
  static constexpr std::size_t kMaxStreams = 32;
  /// Telling what a file is, or listing an archive, takes fewer.
  static constexpr int kReadsToWhole = 4;

  explicit ReadAhead(Options options) : options_(options) {}

  /// Notes a read; returns the ranges to fetch ahead now, mostly none. They may end beyond the
  /// object.
  std::vector<ByteRange> next(ByteRange read, const ReadConditions& conditions = {});

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
    std::int64_t measured_ns = 0;
    std::uint64_t measured_bytes = 0;  ///< `bytes` at that time
    double bytes_per_ns = 0;           ///< how fast they are read; 0: not known
  };

  Stream* stream_of(ByteRange read);
  bool joins(const Stream& stream, ByteRange read) const;
  std::vector<ByteRange> go_on(Stream& stream, ByteRange read, const ReadConditions& conditions);
  std::vector<ByteRange> ahead_of(Stream& stream, const ReadConditions& conditions);
  static void measure(Stream& stream, std::int64_t now_ns);
  std::uint64_t window_of(const Stream& stream, const ReadConditions& conditions) const;
  /// With so much asked for ahead, no more is.
  static std::uint64_t enough_ahead(const Stream& stream);
  std::vector<ByteRange> stray(ByteRange read, const ReadConditions& conditions);
  std::vector<ByteRange> strides(ByteRange read);

  const Options options_;
  std::vector<Stream> streams_;
  std::uint64_t clock_ = 0;

  // Of the reads that belong to no stream:
  DenseRegions regions_;
  int strays_ = 0;  ///< counted up to kReadsToWhole
  ByteRange last_stray_;
  std::int64_t stride_ = 0;
  int repeats_ = 0;                  ///< of the same distance
  std::uint64_t strides_asked_ = 0;  ///< so many reads from the last one on were asked for ahead
};

}  // namespace rangecache::cache
