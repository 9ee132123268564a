#include <atomic>

#include "cache/watermarks.h"
#include "tests/unit/cache/disk_fixture.h"

namespace rangecache::cache {
namespace {

class CacheRoomTest : public DiskTest {
 protected:
  static constexpr std::uint64_t kFloor = 20 * kMiB;
  static constexpr std::uint64_t kDisk = 200 * kMiB;

  /// The cache asks the shared disk until it stops: before this part of the fixture goes.
  ~CacheRoomTest() override {
    if (harness_) harness_->close();
  }

  /// A disk of kDisk, of which others hold `others_`, and the cache what it has there.
  void on_a_shared_disk() {
    files_.free_bytes_as([this] {
      const std::uint64_t used = others_ + (harness_ ? harness_->disk_usage() : 0);
      return kDisk - std::min(used, kDisk);
    });
  }
  double below() { return cache().metric("rangecache_disk_below_floor"); }

  std::atomic<std::uint64_t> others_{0};
};

TEST_F(CacheRoomTest, GivesWayToOthersAlsoWhileNobodyReads) {
  on_a_shared_disk();
  make(256 * kMiB, kFloor);
  read_and_keep("large");
  EXPECT_EQ(below(), 0);

  others_ = kDisk - kFloor - 10 * kMiB;  // more is needed than the 10 MiB that are left for us
  wait_for([&] { return below() == 0 && cache().disk_usage() < 10 * kMiB; });
  EXPECT_GT(cache().chunk_files().size(), 0u) << "it gives what is needed, not all";
  EXPECT_EQ(cache().read_all("large", 1), "");
}

TEST_F(CacheRoomTest, BelowTheFloorItKeepsNothingNewAndServes) {
  on_a_shared_disk();
  make(256 * kMiB, kFloor);
  read_and_keep("a");
  others_ = kDisk;
  wait_for([&] { return below() == 1 && cache().metric("rangecache_chunks") == 0; });
  for (const char* key : {"a", "b", "large"}) EXPECT_EQ(cache().read_all(key, 1), "");
  cache().settle();
  EXPECT_EQ(cache().chunk_files().size(), 0u);
  EXPECT_GE(cache().metric("rangecache_left_out_bytes_total"), static_cast<double>(kLarge));
  EXPECT_EQ(cache().metric("rangecache_cache_faults_total"), 0) << "no fault of the disk's";
  others_ = 0;
  wait_for([&] { return below() == 0; });
  for (const char* key : {"a", "large"}) read_and_keep(key);
}

TEST_F(CacheRoomTest, AtTheFloorWhatIsNewTakesThePlaceOfWhatIsOld) {
  on_a_shared_disk();
  make(256 * kMiB, kFloor);
  others_ = kDisk - kFloor - 30 * kMiB;
  EXPECT_EQ(cache().read_all("large", 1), "");
  EXPECT_EQ(cache().read_all("huge", 1), "");
  cache().settle();
  EXPECT_LE(cache().disk_usage(), 30 * kMiB);
  EXPECT_GT(cache().disk_usage(), 10 * kMiB);
  EXPECT_GT(cached("huge"), 0u);
}

TEST_F(CacheRoomTest, EvictsAheadOfNeedDownToTheLowMark) {
  constexpr std::uint64_t kLimit = 64 * kMiB;
  constexpr Watermarks kMarks = Watermarks::of(kLimit);
  make(kLimit);
  EXPECT_EQ(cache().read_all("huge", 1), "");
  wait_for([&] { return cache().cache().disk_used() <= kMarks.high; });
  cache().settle();
  EXPECT_TRUE(cache().disk_within(kMarks.high));
  EXPECT_GT(cache().cache().disk_used(), kMarks.low - 2 * kPieceSize) << "no more than is needed";
}

TEST_F(CacheRoomTest, TheSmallestCacheStillUsesMostOfItsSpace) {
  make(kMinSizeBytes);
  EXPECT_EQ(cache().read_all("huge", 1), "");
  cache().settle();
  EXPECT_TRUE(cache().disk_within(kMinSizeBytes));
  wait_for([&] { return cache().disk_usage() >= kMinSizeBytes / 4 * 3; });  // once all is written
}

TEST_F(CacheRoomTest, WhatAReadAheadHasJustBroughtSurvivesAScan) {
  make(64 * kMiB);
  const auto file = cache().open_file("large");
  ASSERT_TRUE(file);
  const auto version = (*file)->version();
  version->prefetch({kMiB, kMiB + kPieceSize});  // past what the open has brought
  wait_for([&] { return version->cached_bytes() >= kPieceSize; });
  EXPECT_EQ(cache().read_all("huge", 1), "");
  EXPECT_EQ(cache().read_all("huge", 1), "");
  cache().settle();
  EXPECT_GE(version->cached_bytes(), kPieceSize);

  // But not for ever: nobody wants it.
  cache().clock().advance_s(60);
  EXPECT_EQ(cache().read_all("huge", 1), "");
  EXPECT_EQ(cache().read_all("huge", 1), "");
  wait_for([&] { return version->cached_bytes() == 0; });
}

}  // namespace
}  // namespace rangecache::cache
