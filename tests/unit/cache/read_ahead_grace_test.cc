#include "cache/read_ahead_grace.h"

#include <gtest/gtest.h>

#include <vector>

namespace rangecache::cache {
namespace {

class ReadAheadGraceTest : public testing::Test {
 protected:
  ChunkPtr add(std::uint32_t pages = 10) {
    ChunkPtr chunk(new Chunk(nullptr, {0, pages * EvictionHook::kPageSize}));
    chunk->pages = pages;
    chunk->unread_ahead = true;
    grace_.add(chunk);
    return chunk;
  }

  ManualClock clock_;
  ReadAheadGrace grace_{clock_, 30 * EvictionHook::kPageSize};
};

TEST_F(ReadAheadGraceTest, KeepsTheUnreadForAWhile) {
  const ChunkPtr chunk = add();
  EXPECT_FALSE(grace_.leave());
  clock_.advance_s(14);
  EXPECT_FALSE(grace_.leave());
  clock_.advance_s(1);
  EXPECT_EQ(grace_.leave().get(), chunk.get());
  EXPECT_FALSE(grace_.leave());
  EXPECT_EQ(grace_.bytes(), 0u);
}

TEST_F(ReadAheadGraceTest, TheUsedLeave) {
  const ChunkPtr first = add(), second = add();
  first->unread_ahead = false;
  EXPECT_EQ(grace_.leave().get(), first.get());
  EXPECT_FALSE(grace_.leave());
}

TEST_F(ReadAheadGraceTest, HoldsNoMoreThanItsBytesOldestFirst) {
  std::vector<ChunkPtr> chunks;
  for (int i = 0; i < 5; ++i) chunks.push_back(add());
  EXPECT_EQ(grace_.leave().get(), chunks[0].get());
  EXPECT_EQ(grace_.leave().get(), chunks[1].get());
  EXPECT_FALSE(grace_.leave());
  EXPECT_EQ(grace_.bytes(), 30 * EvictionHook::kPageSize);
  EXPECT_EQ(grace_.leave(/*force=*/true).get(), chunks[2].get()) << "when nothing else is left";
}

TEST_F(ReadAheadGraceTest, WhatIsRemovedDoesNotLeaveOnceMore) {
  const ChunkPtr first = add(), second = add();
  EXPECT_TRUE(grace_.remove(*first));
  EXPECT_FALSE(grace_.remove(*first));
  clock_.advance_s(100);
  EXPECT_EQ(grace_.leave().get(), second.get());
  EXPECT_FALSE(grace_.leave());
}

}  // namespace
}  // namespace rangecache::cache
