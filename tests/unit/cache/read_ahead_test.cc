#include "cache/read_ahead.h"

#include <gtest/gtest.h>

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

/// Reads [0, end) in steps; returns up to where bytes were asked for ahead.
std::uint64_t stream(ReadAhead& ahead, std::uint64_t begin, std::uint64_t end, std::uint64_t step) {
  std::uint64_t frontier = 0;
  for (std::uint64_t at = begin; at < end; at += step) {
    const ByteRange range = ahead.next({at, at + step});
    if (!range.empty()) frontier = std::max(frontier, range.end);
  }
  return frontier;
}

TEST(ReadAhead, OneReadAsksForNothing) {
  ReadAhead ahead({});
  EXPECT_TRUE(ahead.next({0, 4096}).empty());
}

TEST(ReadAhead, AStreamIsReadAheadAndTheWindowGrows) {
  ReadAhead ahead({.initial_window = kMiB, .max_window = 16 * kMiB});
  const std::uint64_t early = stream(ahead, 0, kMiB, 128 * 1024);
  EXPECT_GT(early, kMiB);
  const std::uint64_t late = stream(ahead, kMiB, 64 * kMiB, 128 * 1024);
  EXPECT_GE(late, 64 * kMiB + 7 * kMiB);
  EXPECT_LE(late, 64 * kMiB + 16 * kMiB);
}

TEST(ReadAhead, AStreamThatStopsWastesNoMoreThanABitOverWhatItRead) {
  for (std::uint64_t end = kMiB; end <= 128 * kMiB; end *= 2) {
    ReadAhead ahead({});
    EXPECT_LE(stream(ahead, 0, end, 128 * 1024), 3 * end + kMiB) << end;
  }
}

TEST(ReadAhead, NoByteIsAskedForTwice) {
  ReadAhead ahead({});
  std::uint64_t frontier = 0;
  for (std::uint64_t at = 0; at < 100 * kMiB; at += 128 * 1024) {
    const ByteRange range = ahead.next({at, at + 128 * 1024});
    if (range.empty()) continue;
    EXPECT_GE(range.begin, frontier);
    frontier = range.end;
  }
}

TEST(ReadAhead, RandomReadsAskForNothing) {
  ReadAhead ahead({});
  for (std::uint64_t i = 0; i < 1000; ++i) {
    const std::uint64_t at = (i * 7919 % 1000) * 10 * kMiB;
    EXPECT_TRUE(ahead.next({at, at + 4096}).empty());
  }
}

TEST(ReadAhead, ReorderedRequestsOfTheKernelAreStillAStream) {
  ReadAhead ahead({});
  std::uint64_t frontier = 0;
  for (std::uint64_t at = 0; at < 16 * kMiB; at += 256 * 1024) {
    for (const std::uint64_t part : {at + 128 * 1024, at}) {
      const ByteRange range = ahead.next({part, part + 128 * 1024});
      if (!range.empty()) frontier = range.end;
    }
  }
  EXPECT_GT(frontier, 16 * kMiB);
}

}  // namespace
}  // namespace rangecache::cache
