#pragma once

#include <cstdint>

#include "rangecache/byte_range.h"

namespace rangecache::cache {

/// Watches the reads of one handle and says what to fetch before it is asked for.
///
///     reads      |--1--|--2--|--3--|
///     window                       |=========|         doubles while it is used
///     asked for already                      ^ frontier
///
/// Sequential with some reordering (kernel read-ahead runs requests side by side) counts as a
/// stream; the first read elsewhere ends it. Pure; the caller serialises.
class ReadAhead {
 public:
  struct Options {
    std::uint64_t initial_window = 1 << 20;
    std::uint64_t max_window = 64 << 20;
  };
  explicit ReadAhead(Options options) : options_(options) {}

  /// Notes a read; returns the range to fetch ahead now (empty: nothing). May end beyond the
  /// object.
  ByteRange next(ByteRange read);

 private:
  const Options options_;
  std::uint64_t stream_end_ = 0;  ///< the highest byte that the stream has read
  std::uint64_t frontier_ = 0;    ///< up to here bytes were asked for ahead
  std::uint64_t window_ = 0;      ///< 0: no stream
  int sequential_reads_ = 0;
};

}  // namespace rangecache::cache
