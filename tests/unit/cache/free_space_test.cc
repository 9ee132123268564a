#include "cache/free_space.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "base/log.h"
#include "cache/watermarks.h"
#include "tests/support/faulty_file_system.h"

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

class FreeSpaceTest : public testing::Test {
 protected:
  FreeSpaceTest() {
    set_log_level(LogLevel::kOff);
    files_.free_bytes_as([this] { return free_; });
  }
  int looks() const { return files_.calls(FaultyFileSystem::Call::kFreeBytes); }

  std::uint64_t free_ = 100 * kMiB;
  FaultyFileSystem files_{posix_file_system()};
  ManualClock clock_;
  Metrics metrics_;
  FreeSpace space_{files_, "/", 32 * kMiB, clock_, metrics_};
};

TEST_F(FreeSpaceTest, WhatIsToBeWrittenMustLeaveTheFloor) {
  EXPECT_EQ(space_.missing_for(68 * kMiB), 0u);
  EXPECT_EQ(space_.missing_for(69 * kMiB), kMiB);
}

TEST_F(FreeSpaceTest, WhatIsBeingWrittenCountsUntilTheSystemCountsIt) {
  EXPECT_EQ(space_.missing_for(40 * kMiB), 0u);
  space_.begin(40 * kMiB);
  EXPECT_EQ(space_.missing_for(40 * kMiB), 12 * kMiB);
  clock_.advance_s(10);  // a look does not forget it
  EXPECT_EQ(space_.missing_for(40 * kMiB), 12 * kMiB);
  free_ -= 40 * kMiB;
  space_.finished(40 * kMiB, /*kept=*/true);
  EXPECT_EQ(space_.missing_for(40 * kMiB), 12 * kMiB);
  space_.begin(20 * kMiB);
  space_.finished(20 * kMiB, /*kept=*/false);
  EXPECT_EQ(space_.missing_for(28 * kMiB), 0u);
}

TEST_F(FreeSpaceTest, BelowTheFloorItGivesBackUntilThereIsAMargin) {
  free_ = 30 * kMiB;
  EXPECT_FALSE(space_.below()) << "not looked yet";
  space_.look();
  EXPECT_TRUE(space_.below());
  EXPECT_EQ(space_.missing(), 4 * kMiB);
  space_.deleted(3 * kMiB);
  EXPECT_EQ(space_.missing(), kMiB);
  free_ = 33 * kMiB;
  space_.look();
  EXPECT_TRUE(space_.below()) << "at the floor it would flap";
  free_ = 34 * kMiB;
  space_.look();
  EXPECT_FALSE(space_.below());
  EXPECT_EQ(space_.missing(), 0u);
}

TEST_F(FreeSpaceTest, AsksOnceASecondWhileThereIsPlenty) {
  for (int i = 0; i < 100; ++i) EXPECT_EQ(space_.missing_for(kMiB), 0u);
  EXPECT_EQ(looks(), 1);
  clock_.advance_s(1);
  EXPECT_EQ(space_.missing_for(kMiB), 0u);
  EXPECT_EQ(looks(), 2);
}

TEST_F(FreeSpaceTest, WithoutAFloorItNeverAsks) {
  FreeSpace none(files_, "/", 0, clock_, metrics_);
  free_ = 0;
  none.look();
  EXPECT_EQ(none.missing_for(kMiB), 0u);
  EXPECT_FALSE(none.below());
  EXPECT_EQ(looks(), 0);
}

TEST_F(FreeSpaceTest, AFileSystemThatCannotTellCountsAsRoomy) {
  files_.fail(FaultyFileSystem::Call::kFreeBytes, EIO, 1, FaultyFileSystem::kAlways);
  EXPECT_EQ(space_.missing_for(kMiB), 0u);
  EXPECT_FALSE(space_.below());
}

TEST(WatermarksTest, SmallCachesUseMostOfTheirSpaceAndLargeOnesHaveRoomForAFlood) {
  for (const std::uint64_t limit : {16 * kMiB, 64 * kMiB, 1024 * kMiB, 10240 * kMiB, kMiB << 20}) {
    const Watermarks marks = Watermarks::of(limit);
    EXPECT_LT(marks.low, marks.high) << limit;
    EXPECT_LT(marks.high, limit);
    EXPECT_GE(marks.low, limit / 16 * 15 - 1) << limit;
    if (limit >= 2048 * kMiB) {
      EXPECT_GE(limit - marks.high, 16 * kPieceSize);
      EXPECT_GE(marks.high - marks.low, 16 * kPieceSize);
    }
  }
  const Watermarks large = Watermarks::of(std::uint64_t{1000} << 30);
  EXPECT_EQ(large.high, std::uint64_t{980} << 30);
  EXPECT_EQ(large.low >> 30, std::uint64_t{950});
}

}  // namespace
}  // namespace rangecache::cache
