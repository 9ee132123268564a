#include "cache/kept_pieces.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/store_fixture.h"

namespace rangecache::cache {
namespace {

/// What a read-ahead brought is on the disk before its reader comes.
class KeptPiecesTest : public TempDirectoryTest {
 protected:
  static constexpr std::uint64_t kSize = 3 * kPieceSize;

  SnapshotPtr fetch_ahead(std::uint64_t memory_bytes) {
    CacheOptions options = quiet_options();
    options.directory = directory_;
    options.size_bytes = 256 * kMiB;
    options.memory_bytes = memory_bytes;
    harness_ = std::make_unique<CacheHarness>(std::move(options));
    EXPECT_TRUE(harness_->open(
        [](FakeOrigin& origin) { origin.put("a", {.size = kSize, .lifetime_s = 3600}); }));
    SnapshotPtr file = harness_->open_file("a").value();
    EXPECT_EQ(CacheHarness::read(*file, {0, 1}, 1), "");
    file->version()->prefetch({0, kSize});
    harness_->finish_writes();
    EXPECT_EQ(file->version()->cached_bytes(), kSize);
    disk_bytes_before_ = metric("hit_bytes_total");
    return file;
  }
  double metric(const std::string& name) { return harness_->metric("rangecache_" + name); }
  double bytes_from_disk() { return metric("hit_bytes_total") - disk_bytes_before_; }

  std::unique_ptr<CacheHarness> harness_;
  double disk_bytes_before_ = 0;
};

TEST_F(KeptPiecesTest, AReaderThatComesLaterFindsThemInMemory) {
  const SnapshotPtr file = fetch_ahead(256 * kMiB);
  EXPECT_GT(metric("read_ahead_unused_bytes"), 0);
  for (std::uint64_t at = 0; at < kSize; at += kMiB)
    EXPECT_EQ(CacheHarness::read(*file, {at, at + kMiB}, 1), "");
  EXPECT_EQ(bytes_from_disk(), 0);
  EXPECT_EQ(metric("read_ahead_unused_bytes"), 0) << "what memory gave counts as used, too";
  EXPECT_LT(metric("memory_bytes"), kPieceSize) << "and is forgotten then, but for an odd end";
  EXPECT_EQ(CacheHarness::read(*file, {kPieceSize, 2 * kPieceSize}, 1), "");
  EXPECT_EQ(bytes_from_disk(), kPieceSize) << "a second reader finds it on the disk";
}

TEST_F(KeptPiecesTest, TheyStayForAWhileOnly) {
  const SnapshotPtr file = fetch_ahead(256 * kMiB);
  EXPECT_GT(metric("memory_bytes"), kPieceSize);
  harness_->clock().advance_s(6);
  while (metric("memory_bytes") > 0) std::this_thread::yield();
  EXPECT_EQ(CacheHarness::read(*file, {0, kSize}, 1), "");
  EXPECT_EQ(bytes_from_disk(), kSize);
}

TEST_F(KeptPiecesTest, TheyTakeAQuarterOfTheMemoryAtMost) {
  const SnapshotPtr file = fetch_ahead(32 * kMiB);
  EXPECT_LE(metric("memory_bytes"), 8 * kMiB);
  EXPECT_EQ(CacheHarness::read(*file, {0, kSize}, 1), "");
  EXPECT_GE(bytes_from_disk(), kPieceSize);
}

TEST_F(KeptPiecesTest, WhatIsEvictedOnRequestLeavesTheMemoryToo) {
  const SnapshotPtr file = fetch_ahead(256 * kMiB);
  harness_->settle();  // evicts nothing
  EXPECT_GT(metric("memory_bytes"), 0);
  std::promise<void> evicted;
  harness_->cache().evict([](const Version&) { return true; },
                          [&](Cache::Evicted) { evicted.set_value(); });
  evicted.get_future().wait();
  EXPECT_EQ(metric("memory_bytes"), 0);
  const int fetches = harness_->origin().fetches();
  EXPECT_EQ(CacheHarness::read(*file, {0, kSize}, 1), "");
  EXPECT_GT(harness_->origin().fetches(), fetches);
}

TEST_F(KeptPiecesTest, OfTheRestWhatIsReadAheadComesFromTheDiskBeforeItsReader) {
  fetch_ahead(256 * kMiB);
  ASSERT_TRUE(harness_->open(  // nothing in memory
      [](FakeOrigin& origin) { origin.put("a", {.size = kSize, .lifetime_s = 3600}); }));
  const auto resident = [&](bool drop) {
    double all = 0;
    for (const auto& path : harness_->chunk_files()) {
      const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
      if (drop) {
        ::fdatasync(fd.get());
        ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
      }
      all += share_in_page_cache(path, std::filesystem::file_size(path));
    }
    return all / static_cast<double>(harness_->chunk_files().size());
  };
  for (int tries = 0; resident(true) > 0; ++tries) {
    if (tries > 10'000) GTEST_SKIP() << directory_ << " is on a file system that is its page cache";
    std::this_thread::yield();
  }
  const SnapshotPtr file = harness_->open_file("a").value();
  do {
    file->version()->warm({0, kSize});  // again, should the kernel be short of memory
  } while (resident(false) < 1);
  EXPECT_EQ(metric("hit_bytes_total"), 0) << "nobody has read it";
}

}  // namespace
}  // namespace rangecache::cache
