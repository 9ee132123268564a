#include "cache/write_queue.h"

#include <gtest/gtest.h>

#include <future>

#include "tests/support/faulty_file_system.h"
#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/store_fixture.h"

namespace rangecache::cache {
namespace {

class WriteQueueTest : public testing::Test {
 protected:
  std::shared_ptr<Piece> piece(bool unread) {
    auto piece = std::make_shared<Piece>(ByteRange{0, kMiB}, pool_->try_allocate(kMiB));
    const std::vector<std::byte> bytes(kMiB);
    piece->append(bytes.data(), bytes.size());
    piece->seal();
    piece->unread_ahead = unread;
    return piece;
  }
  void push(int count, bool unread = false) {
    for (int i = 0; i < count; ++i) queue_.push({nullptr, piece(unread)});
  }
  std::vector<PieceWrite> take() {
    std::vector<PieceWrite> taken;
    while (auto write = queue_.next()) taken.push_back(*std::move(write));
    return taken;
  }

  Metrics metrics_;
  ManualClock clock_;
  std::shared_ptr<BufferPool> pool_ = std::make_shared<BufferPool>(256 * kMiB, metrics_);
  WriteQueue queue_{64 * kMiB, clock_, metrics_};
};

TEST_F(WriteQueueTest, AQuarterOfTheMemoryIsWithTheWriterTheRestWaits) {
  push(30);
  auto taken = take();
  EXPECT_EQ(taken.size(), 16u);
  queue_.done(taken[3]);
  EXPECT_EQ(take().size(), 1u);
  queue_.drain();
  EXPECT_EQ(take().size(), 13u);
}

TEST_F(WriteQueueTest, ABurstIsNoReasonToGiveAnythingUp) {
  push(60);
  clock_.advance_s(0);
  EXPECT_TRUE(queue_.give_up().empty());
  for (const PieceWrite& write : take()) queue_.done(write);
  for (const PieceWrite& write : take()) queue_.done(write);
  clock_.advance_s(10);
  push(1);
  EXPECT_TRUE(queue_.give_up().empty()) << "it was not full for a second without a break";
}

TEST_F(WriteQueueTest, BehindForASecondItGivesUpWhatReadersHaveHad) {
  push(5, /*unread=*/true);
  push(50);
  push(5, /*unread=*/true);
  const auto taken = take();
  clock_.advance_s(2);
  const auto given_up = queue_.give_up();
  EXPECT_TRUE(queue_.behind());
  EXPECT_EQ(given_up.size(), 60u - 16 - 5) << "what is with the writer, or unread, is kept";
  for (const PieceWrite& write : given_up) EXPECT_FALSE(write.piece->unread_ahead);
  for (const PieceWrite& write : taken) queue_.done(write);
  EXPECT_FALSE(queue_.behind()) << "caught up";
  EXPECT_EQ(take().size(), 5u);
}

class SlowDiskTest : public TempDirectoryTest {};

TEST_F(SlowDiskTest, AStreamGoesOnWhileTheDiskStandsStill) {
  std::promise<void> released;
  const std::shared_future<void> until_released = released.get_future().share();
  FaultyFileSystem disk(posix_file_system());
  disk.before_rename([&](const std::string&, const std::string& to) {
    const bool chunk = to.find("/objects/") != std::string::npos && !to.ends_with("/meta");
    if (chunk) until_released.wait();
  });
  CacheOptions options = quiet_options();
  options.directory = directory_;
  options.size_bytes = 1024 * kMiB;
  options.memory_bytes = 32 * kMiB;
  options.writer = WriterKind::kThreads;
  options.look_after_ms = 10;
  CacheHarness harness(options, disk);
  ASSERT_TRUE(harness.open(
      [](FakeOrigin& origin) { origin.put("a", {.size = 200 * kMiB, .lifetime_s = 3600}); }));
  const auto file = harness.open_file("a");
  ASSERT_TRUE(file);
  for (std::uint64_t at = 0; at < 200 * kMiB; at += kMiB) {
    std::promise<Result<Slices>> promise;
    auto future = promise.get_future();
    const ReadTicket ticket = (*file)->read(ByteRange::at(at, kMiB), [&](Result<Slices> slices) {
      promise.set_value(std::move(slices));
    });
    while (future.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready)
      harness.clock().advance_s(1);
    const auto slices = future.get();
    ASSERT_TRUE(slices) << slices.error().message();
    std::uint64_t length = 0;
    for (const Slice& slice : *slices) length += slice.length;
    ASSERT_EQ(length, kMiB);
  }
  EXPECT_EQ(harness.metric("rangecache_disk_behind"), 1);
  EXPECT_GE(harness.metric("rangecache_left_out_bytes_total"), 150.0 * kMiB);
  released.set_value();
  harness.finish_writes();
  EXPECT_EQ(harness.metric("rangecache_disk_behind"), 0);
  EXPECT_EQ(harness.read_all("a", 1), "") << "what was left out is fetched again";
}

}  // namespace
}  // namespace rangecache::cache
