#include "cache/block_table.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace rangecache::cache {
namespace {

std::vector<std::uint32_t> sums(std::size_t count) {
  std::vector<std::uint32_t> all(count);
  for (std::size_t i = 0; i < count; ++i) all[i] = static_cast<std::uint32_t>(i * 2654435761u);
  return all;
}

TEST(BlockTable, KeepsEveryChecksumAndNothingOnTheHeapForOneBlock) {
  for (const std::size_t count : {1, 2, 31, 32, 33, 64, 1000}) {
    const BlockTable table(sums(count), false);
    EXPECT_TRUE(table.known());
    ASSERT_EQ(table.count(), count);
    EXPECT_EQ(table.checksums(), sums(count));
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(table.checksum(i), sums(count)[i]);
    EXPECT_EQ(table.heap_bytes() == 0, count == 1);
  }
  EXPECT_EQ(sizeof(BlockTable), 8u);
}

TEST(BlockTable, ProvesExactlyTheBlocksThatWereMarked) {
  std::mt19937 random(11);
  for (const std::size_t count : {1, 2, 32, 33, 70, 257}) {
    BlockTable table(sums(count), false);
    std::vector<bool> model(count, false);
    for (int step = 0; step < 200; ++step) {
      const std::size_t begin = random() % count, end = begin + 1 + random() % (count - begin);
      bool all = true;
      for (std::size_t i = begin; i < end; ++i) all = all && model[i];
      ASSERT_EQ(table.proved({begin, end}), all);
      const BlockSpan run = table.proved_around(begin);
      ASSERT_EQ(run.begin < run.end, model[begin]);
      if (model[begin]) {
        ASSERT_TRUE(run.begin <= begin && begin < run.end && table.proved(run));
        ASSERT_TRUE(run.begin == 0 || !model[run.begin - 1]);
        ASSERT_TRUE(run.end == count || !model[run.end]);
      }
      if (random() % 4) continue;
      const std::size_t upto = std::min(end, begin + 3);
      table.mark_proved({begin, upto});
      for (std::size_t i = begin; i < upto; ++i) model[i] = true;
    }
    EXPECT_EQ(table.checksums(), sums(count)) << "marks must not touch checksums";
  }
}

TEST(BlockTable, WrittenInThisRunIsProved) {
  for (const std::size_t count : {1, 5, 64}) {
    const BlockTable table(sums(count), true);
    EXPECT_TRUE(table.proved({0, count}));
  }
}

TEST(BlockTable, AnUnknownOneLearnsOnceAndIsProvedThen) {
  for (const std::size_t count : {1, 5}) {
    BlockTable table;
    EXPECT_FALSE(table.known());
    EXPECT_FALSE(table.proved({0, 1}));
    EXPECT_TRUE(table.learn(sums(count)));
    EXPECT_FALSE(table.learn(sums(count)));
    EXPECT_TRUE(table.proved({0, count}));
    EXPECT_EQ(table.checksums(), sums(count));
  }
}

}  // namespace
}  // namespace rangecache::cache
