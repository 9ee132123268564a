#include "cache/read_ahead.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace rangecache::cache {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t kKiB = 1 << 10, kMiB = 1 << 20;

/// Reads [begin, end) in steps; returns up to where bytes were asked for ahead.
std::uint64_t stream(ReadAhead& ahead, std::uint64_t begin, std::uint64_t end, std::uint64_t step) {
  std::uint64_t frontier = 0;
  for (std::uint64_t at = begin; at < end; at += step)
    for (const ByteRange range : ahead.next({at, at + step}))
      frontier = std::max(frontier, range.end);
  return frontier;
}

std::uint64_t bytes_of(const std::vector<ByteRange>& ranges) {
  std::uint64_t bytes = 0;
  for (const ByteRange range : ranges) bytes += range.size();
  return bytes;
}

TEST(ReadAhead, OneReadAsksForNothing) {
  ReadAhead ahead({});
  EXPECT_THAT(ahead.next({0, 4096}), IsEmpty());
  EXPECT_THAT(ahead.next({0, 4096}), IsEmpty()) << "the same again says nothing either";
}

TEST(ReadAhead, ReadsOfNothingSayNothing) {
  ReadAhead ahead({});
  for (std::uint64_t at = 100; at <= 1000; at += 100)
    EXPECT_THAT(ahead.next({at, at}), IsEmpty()) << at;
}

TEST(ReadAhead, ASmallObjectThatIsReadAtRandomIsFetchedWholeOnce) {
  constexpr std::uint64_t kWhole = 100 * kMiB;
  for (const std::uint64_t size : {std::uint64_t{0}, kWhole, kWhole + 1}) {
    ReadAhead ahead({.whole_size = kWhole});
    int wholes = 0, reads = 0;
    for (const std::uint64_t at : {90, 20, 70, 50, 10, 35, 60, 5}) {
      ++reads;
      for (const ByteRange range :
           ahead.next(ByteRange::at(at * kMiB, 4096), {.object_size = size})) {
        EXPECT_EQ(range, (ByteRange{0, kWhole}));
        EXPECT_EQ(reads, ReadAhead::kReadsToWhole);
        ++wholes;
      }
    }
    EXPECT_EQ(wholes, size == kWhole ? 1 : 0) << size;
  }
}

/// Reads a stream at `bytes_per_s`; returns the window that it has in the end.
std::uint64_t steady_window(std::uint64_t bytes_per_s, std::int64_t part_ns) {
  constexpr std::uint64_t kBlock = 128 * kKiB;
  ReadAhead ahead({});
  std::uint64_t frontier = 0, window = 0;
  for (std::uint64_t at = 0; at < 512 * kMiB; at += kBlock) {
    const auto now_ns = static_cast<std::int64_t>(1 + at * 1'000'000'000 / bytes_per_s);
    for (const ByteRange range :
         ahead.next(ByteRange::at(at, kBlock), {.now_ns = now_ns, .part_ns = part_ns}))
      frontier = std::max(frontier, range.end);
    window = frontier - at - kBlock;
  }
  return window;
}

TEST(ReadAhead, AWindowFollowsWhatItsReaderTakesWhileAPartComes) {
  constexpr std::int64_t kMs = 1'000'000;
  EXPECT_LE(steady_window(2 * kMiB, 70 * kMs), 8 * kMiB) << "a film";
  const std::uint64_t fast = steady_window(700 * kMiB, 70 * kMs);
  EXPECT_GT(fast, 80 * kMiB) << "49 MiB are read while a part comes";
  EXPECT_LE(fast, 100 * kMiB);
  EXPECT_GT(steady_window(1000 * kMiB, 300 * kMs), 200 * kMiB);
  const std::uint64_t unknown = steady_window(1000 * kMiB, 0);
  EXPECT_GT(unknown, 50 * kMiB);
  EXPECT_LE(unknown, ReadAhead::kUsualWindow);
}

TEST(ReadAhead, AStreamIsReadAheadUpToTheLimit) {
  ReadAhead ahead({.max_window = 16 * kMiB});
  EXPECT_GE(stream(ahead, 0, kMiB, 128 * kKiB), 3 * kMiB);
  const std::uint64_t late = stream(ahead, kMiB, 64 * kMiB, 128 * kKiB);
  EXPECT_GE(late, 64 * kMiB + 7 * kMiB);
  EXPECT_LE(late, 64 * kMiB + 16 * kMiB);
}

TEST(ReadAhead, ALargeWindowIsReachedInAFewSteps) {
  ReadAhead ahead({});
  int asked = 0;
  for (std::uint64_t at = 0; at < 16 * kMiB; at += 128 * kKiB)
    asked += static_cast<int>(ahead.next({at, at + 128 * kKiB}).size());
  EXPECT_LE(asked, 6);
}

TEST(ReadAhead, AStreamThatStopsWastesAtMostAFewTimesWhatItRead) {
  for (std::uint64_t end = 8 * kKiB; end <= 128 * kMiB; end *= 2) {
    ReadAhead ahead({});
    const std::uint64_t step = std::min(end / 2, 128 * kKiB);
    EXPECT_LE(stream(ahead, 0, end, step),
              end + std::max(ReadAhead::kFactor * end, ReadAhead::kMinWindow))
        << end;
  }
}

TEST(ReadAhead, NoByteIsAskedForTwice) {
  ReadAhead ahead({});
  std::uint64_t frontier = 0;
  for (std::uint64_t at = 0; at < 100 * kMiB; at += 128 * kKiB) {
    for (const ByteRange range : ahead.next({at, at + 128 * kKiB})) {
      EXPECT_GE(range.begin, frontier);
      frontier = range.end;
    }
  }
}

TEST(ReadAhead, RandomReadsAskForNothing) {
  ReadAhead ahead({});
  std::mt19937_64 random(1);
  std::uint64_t asked = 0;
  for (int i = 0; i < 10'000; ++i) {
    const std::uint64_t at = random() % (50'000) * 4096;  // of 200 MB
    asked += bytes_of(ahead.next({at, at + 4096}));
  }
  // Some touch by chance what one of the last reads had: 32 of 50,000 places, twice.
  EXPECT_LT(asked, 10'000 * 4096 / 5);
}

TEST(ReadAhead, ReorderedRequestsOfTheKernelAreStillAStream) {
  ReadAhead ahead({});
  std::uint64_t frontier = 0;
  for (std::uint64_t at = 0; at < 16 * kMiB; at += 256 * kKiB) {
    for (const std::uint64_t part : {at + 128 * kKiB, at})
      for (const ByteRange range : ahead.next({part, part + 128 * kKiB}))
        frontier = std::max(frontier, range.end);
  }
  EXPECT_GT(frontier, 16 * kMiB);
}

TEST(ReadAhead, BackwardStreamsAreReadAheadDownwards) {
  ReadAhead ahead({});
  std::uint64_t lowest = UINT64_MAX;
  for (std::uint64_t at = 32 * kMiB; at > 24 * kMiB; at -= 64 * kKiB) {
    for (const ByteRange range : ahead.next({at - 64 * kKiB, at})) {
      EXPECT_LE(range.end, at - 64 * kKiB);
      EXPECT_LE(range.end, lowest) << "asked for twice";
      lowest = range.begin;
    }
  }
  EXPECT_LT(lowest, 16 * kMiB);
  for (std::uint64_t at = 24 * kMiB; at > 0; at -= 64 * kKiB) ahead.next({at - 64 * kKiB, at});
}

TEST(ReadAhead, InterleavedStreamsAreToldApart) {
  ReadAhead ahead({});
  std::vector<std::uint64_t> frontiers(8, 0);
  for (std::uint64_t at = 0; at < 8 * kMiB; at += 128 * kKiB) {
    for (std::uint64_t i = 0; i < 8; ++i) {
      const std::uint64_t begin = i * 1024 * kMiB + at;
      for (const ByteRange range : ahead.next({begin, begin + 128 * kKiB}))
        frontiers[i] = std::max(frontiers[i], range.end);
    }
  }
  for (std::uint64_t i = 0; i < 8; ++i) EXPECT_GT(frontiers[i], i * 1024 * kMiB + 12 * kMiB) << i;
}

TEST(ReadAhead, AStreamSurvivesRandomReadsBesideIt) {
  ReadAhead ahead({});
  std::mt19937_64 random(2);
  std::uint64_t frontier = 0;
  for (std::uint64_t at = 0; at < 8 * kMiB; at += 128 * kKiB) {
    for (const ByteRange range : ahead.next({at, at + 128 * kKiB})) frontier = range.end;
    for (int i = 0; i < 4; ++i) {
      const std::uint64_t elsewhere = 64 * kMiB + random() % 100'000 * 8192;
      ahead.next({elsewhere, elsewhere + 4096});
    }
  }
  EXPECT_GT(frontier, 12 * kMiB);
}

TEST(ReadAhead, EqualDistancesAreAStride) {
  ReadAhead ahead({});
  std::uint64_t asked = 0, last = 0;
  for (std::uint64_t i = 0; i < 64; ++i) {
    const std::uint64_t at = 10 * kMiB + i * 3 * kMiB;
    for (const ByteRange range : ahead.next({at, at + 64 * kKiB})) {
      EXPECT_EQ((range.begin - 10 * kMiB) % (3 * kMiB), 0u);
      EXPECT_EQ(range.size(), 64 * kKiB);
      EXPECT_GT(range.begin, last) << "asked for twice";
      last = range.begin;
      asked += range.size();
    }
  }
  EXPECT_GT(last, 10 * kMiB + 64 * 3 * kMiB);
  EXPECT_LE(asked, 100 * 64 * kKiB);
}

TEST(ReadAhead, AStrideMayGoDownToTheBegin) {
  ReadAhead ahead({});
  for (std::uint64_t i = 30; i > 0; --i) {
    const std::uint64_t at = i * 3 * kMiB;
    for (const ByteRange range : ahead.next({at, at + 64 * kKiB})) EXPECT_LT(range.begin, at);
  }
}

TEST(DenseRegions, AreFetchedOnceAndOnlyWhenAQuarterWasRead) {
  constexpr std::uint64_t kCell = DenseRegions::kCell;
  DenseRegions regions;
  for (std::uint64_t cell = 0; cell < 64; ++cell)
    EXPECT_FALSE(regions.touched(ByteRange::at(cell * kCell + 7, kCell / 2 - 1))) << "too small";
  for (std::uint64_t cell = 0; cell < 15; ++cell)
    EXPECT_FALSE(regions.touched(ByteRange::at(5 * cell % 64 * kCell, kCell)));
  EXPECT_FALSE(regions.touched({0, kCell})) << "the same cell again is nothing new";
  EXPECT_EQ(regions.touched({63 * kCell - 5, 64 * kCell - 5}),
            (ByteRange{0, DenseRegions::kRegion}));
  EXPECT_FALSE(regions.touched({62 * kCell, 63 * kCell}));
}

TEST(DenseRegions, AReadMayLieInTwo) {
  DenseRegions regions;
  const std::uint64_t edge = 3 * DenseRegions::kRegion;
  EXPECT_EQ(regions.touched({edge - kMiB, edge + 64 * kKiB}),
            (ByteRange{edge - DenseRegions::kRegion, edge}));
}

TEST(ReadAhead, RandomReadsFetchTheRestOfWhatTheyHaveMostlyTouched) {
  std::mt19937 random(7);
  ReadAhead ahead({});
  std::uint64_t fetched = 0, asked = 0;
  const std::uint64_t size = 64 * kMiB, block = 256 * kKiB;
  std::vector<std::uint64_t> places;
  for (std::uint64_t at = 0; at < size; at += 2 * block) places.push_back(at);  // no streams
  std::shuffle(places.begin(), places.end(), random);
  for (const std::uint64_t at : places) {
    asked += block;
    const std::uint64_t before = fetched;
    fetched += bytes_of(ahead.next({at, at + block}));
    if (asked >= size / 20) continue;
    EXPECT_EQ(fetched, before) << "sparse reads fetch nothing ahead";
  }
  EXPECT_GE(fetched, size * 9 / 10);
}

}  // namespace
}  // namespace rangecache::cache
