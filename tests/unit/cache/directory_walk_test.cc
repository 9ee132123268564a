#include "cache/directory_walk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kKiB = 1024, kMiB = 1 << 20;

std::vector<std::uint64_t> files(std::size_t count, std::uint64_t size) {
  return std::vector<std::uint64_t>(count, size);
}

/// Opens files and keeps count of what was fetched ahead and what of it was opened then.
struct Walker {
  explicit Walker(const std::vector<std::uint64_t>& sizes, std::uint64_t window = 8 * kMiB)
      : walk(sizes, window) {}
  void open(std::size_t index, bool useful = true) {
    if (ahead.erase(index)) ++used;
    for (const std::size_t i : walk.opened(index, useful)) {
      EXPECT_NE(i, index);
      EXPECT_TRUE(ahead.insert(i).second) << i << " was fetched already";
      ++fetched;
    }
  }
  DirectoryWalk walk;
  std::set<std::size_t> ahead;
  int fetched = 0;
  int used = 0;
};

TEST(DirectoryWalk, AllButTheFirstTwoFilesOfAWalkAreFetchedBeforeTheyAreOpened) {
  for (const std::uint64_t size : {kKiB, 64 * kKiB, 300 * kKiB}) {
    Walker walker(files(1000, size));
    for (std::size_t i = 0; i < 1000; ++i) walker.open(i);
    EXPECT_EQ(walker.used, 998);
    EXPECT_EQ(walker.fetched, 998);
  }
}

TEST(DirectoryWalk, BackwardToo) {
  Walker walker(files(1000, 10 * kKiB));
  for (std::size_t i = 1000; i-- > 0;) walker.open(i);
  EXPECT_GE(walker.used, 990);
}

TEST(DirectoryWalk, SeveralProgramsThatShareTheWork) {
  Walker walker(files(2000, 64 * kKiB));
  std::mt19937 random(3);
  std::vector<std::size_t> order(2000);
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  for (std::size_t i = 0; i + 16 <= order.size(); i += 16)
    std::shuffle(order.begin() + static_cast<std::ptrdiff_t>(i),
                 order.begin() + static_cast<std::ptrdiff_t>(i) + 16, random);
  for (const std::size_t i : order) walker.open(i);
  EXPECT_GE(walker.used, 1900);
}

TEST(DirectoryWalk, OneThatStopsWastesFourTimesWhatItRead) {
  for (std::size_t read = 2; read < 60; read += 7) {
    Walker walker(files(1000, 64 * kKiB));
    for (std::size_t i = 100; i < 100 + read; ++i) walker.open(i);
    EXPECT_LE(walker.fetched - walker.used, static_cast<int>(4 * read));
  }
}

TEST(DirectoryWalk, TheWindowIsBounded) {
  Walker walker(files(5000, 64 * kKiB), kMiB);
  for (std::size_t i = 0; i < 2000; ++i) {
    walker.open(i);
    ASSERT_LE(walker.ahead.size(), 17u);
  }
}

TEST(DirectoryWalk, LargeFilesAreLeftToThemselves) {
  auto sizes = files(300, 10 * kKiB);
  for (std::size_t i = 0; i < sizes.size(); i += 3) sizes[i] = 50 * kMiB;
  sizes[10] = DirectoryWalk::kNotFetched;
  Walker walker(sizes);
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    walker.open(i);
    for (const std::size_t ahead : walker.ahead) ASSERT_LE(sizes[ahead], DirectoryWalk::kSmallFile);
  }
  EXPECT_GE(walker.used, 190);
}

TEST(DirectoryWalk, RandomOpensFetchNextToNothing) {
  Walker walker(files(100'000, 20 * kKiB));
  std::mt19937 random(1);
  for (int i = 0; i < 5000; ++i) walker.open(random() % 100'000);
  EXPECT_LE(walker.fetched, 100);
}

/// A program that opens pairs of neighbours, and goes elsewhere then.
TEST(DirectoryWalk, WrongGuessesEnd) {
  Walker walker(files(100'000, 20 * kKiB));
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) {
    const std::size_t pair = random() % 99'999;
    walker.open(pair);
    walker.open(pair + 1);
  }
  EXPECT_LE(walker.fetched,
            DirectoryWalk::kFirstCredit + DirectoryWalk::kEarned * walker.used + 20);
}

TEST(DirectoryWalk, AndBeginAgainWhereTheyWouldBeRight) {
  Walker walker(files(100'000, 20 * kKiB));
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) {
    const std::size_t pair = random() % 99'999;
    walker.open(pair);
    walker.open(pair + 1);
  }
  walker.used = 0;
  for (std::size_t i = 50'000; i < 51'000; ++i) walker.open(i);
  EXPECT_GE(walker.used, 900);
}

/// Nothing that is kept may serve an open unasked: each file would be asked for twice.
TEST(DirectoryWalk, EndWhereWhatWasFetchedIsStaleAtOnce) {
  Walker walker(files(1000, 20 * kKiB));
  for (std::size_t i = 0; i < 1000; ++i) walker.open(i, /*useful=*/false);
  EXPECT_LE(walker.fetched, DirectoryWalk::kFirstCredit);
}

}  // namespace
}  // namespace rangecache::cache
