#include "cache/buffer_pool.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "cache/piece.h"

namespace rangecache::cache {
namespace {

class BufferPoolTest : public testing::Test {
 protected:
  Metrics metrics_;
  const std::shared_ptr<BufferPool> pool_ = std::make_shared<BufferPool>(4 * kPieceSize, metrics_);
};

TEST_F(BufferPoolTest, GivesNoMoreThanItsLimit) {
  std::vector<std::unique_ptr<Buffer>> buffers;
  while (auto buffer = pool_->try_allocate(kPieceSize)) buffers.push_back(std::move(buffer));
  EXPECT_EQ(buffers.size(), 4u);
  EXPECT_EQ(pool_->try_allocate(1), nullptr);
  buffers.pop_back();
  EXPECT_NE(pool_->try_allocate(1), nullptr);
}

TEST_F(BufferPoolTest, WhatItKeepsForTheNextIsWithinTheLimit) {
  std::vector<std::unique_ptr<Buffer>> buffers;
  for (int i = 0; i < 4; ++i) buffers.push_back(pool_->try_allocate(kPieceSize));
  buffers.clear();
  EXPECT_EQ(pool_->used(), 0u);
  EXPECT_EQ(pool_->spare(), 4 * kPieceSize);
  while (auto buffer = pool_->try_allocate(kPieceSize / 8)) {
    buffers.push_back(std::move(buffer));
    EXPECT_LE(pool_->used() + pool_->spare(), pool_->limit());
  }
  EXPECT_EQ(pool_->used(), pool_->limit());
  EXPECT_EQ(pool_->spare(), 0u);
}

TEST_F(BufferPoolTest, WhoWaitsIsCalledOnceThereIsMemory) {
  int called = 0;
  pool_->when_available(kPieceSize, [&] { ++called; });
  EXPECT_EQ(called, 1) << "there is some now";
  auto all = pool_->try_allocate(4 * kPieceSize);
  pool_->when_available(kPieceSize, [&] { ++called; });
  EXPECT_EQ(called, 1);
  all.reset();
  EXPECT_EQ(called, 2);
}

}  // namespace
}  // namespace rangecache::cache
