#include "cache/pins.h"

#include <algorithm>
#include <random>

#include "base/log.h"
#include "tests/support/faulty_file_system.h"
#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/store_fixture.h"

namespace rangecache::cache {
namespace {

namespace fs = std::filesystem;

class PinsTest : public TempDirectoryTest {
 protected:
  PinsTest() {
    set_log_level(LogLevel::kOff);
    fs::create_directories(directory_);
    fs::permissions(directory_, fs::perms::owner_all);
  }

  FaultyFileSystem files_{posix_file_system()};
  ManualClock clock_;
};

TEST_F(PinsTest, APinCoversItsPrefixUntilItEnds) {
  Pins pins(files_, directory_.string(), clock_);
  EXPECT_FALSE(pins.any());
  const auto serial = pins.serial();
  ASSERT_TRUE(pins.add("http://h/a/", "ann", clock_.unix_s() + 100));
  EXPECT_TRUE(pins.is_pinned("http://h/a/file"));
  EXPECT_FALSE(pins.is_pinned("http://h/b"));
  EXPECT_NE(pins.serial(), serial);
  clock_.advance_s(99);
  EXPECT_TRUE(pins.is_pinned("http://h/a/file"));
  const auto before = pins.serial();
  clock_.advance_s(1);
  EXPECT_FALSE(pins.is_pinned("http://h/a/file"));
  EXPECT_NE(pins.serial(), before);
  EXPECT_TRUE(pins.list().empty());
}

TEST_F(PinsTest, OwnersDoNotTakeEachOthersPinsAway) {
  Pins pins(files_, directory_.string(), clock_);
  ASSERT_TRUE(pins.add("http://h/", "ann", 0));
  ASSERT_TRUE(pins.add("http://h/", "bob", 0));
  ASSERT_TRUE(pins.add("http://h/", "bob", clock_.unix_s() + 5));  // replaces his own
  EXPECT_EQ(pins.list().size(), 2u);
  EXPECT_EQ(*pins.remove("http://h/", "ann"), 1u);
  EXPECT_EQ(*pins.remove("http://h/", "ann"), 0u);
  EXPECT_TRUE(pins.is_pinned("http://h/x"));
  EXPECT_EQ(*pins.remove("http://h/", ""), 1u);
  EXPECT_FALSE(pins.is_pinned("http://h/x"));
}

TEST_F(PinsTest, TheyAreThereAfterARestartAndADamagedFileIsStartedWithout) {
  {
    Pins pins(files_, directory_.string(), clock_);
    ASSERT_TRUE(pins.add("http://h/a", "ann", 12));
  }
  {
    Pins pins(files_, directory_.string(), clock_);
    EXPECT_FALSE(pins.is_pinned("http://h/a")) << "it has expired long ago";
  }
  {
    Pins pins(files_, directory_.string(), clock_);
    ASSERT_TRUE(pins.add("http://h/b", "ann", 0));
  }
  EXPECT_TRUE(Pins(files_, directory_.string(), clock_).is_pinned("http://h/b"));
  std::string text = read_text(directory_ / "pins");
  text[text.size() / 2] ^= 1;
  write_text(directory_ / "pins", text);
  EXPECT_FALSE(Pins(files_, directory_.string(), clock_).any());
}

TEST_F(PinsTest, BytesThatAreNoTextAreRefused) {
  Pins pins(files_, directory_.string(), clock_);
  EXPECT_EQ(pins.add("http://h/\xff", "ann", 0).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(pins.add("http://h/", "\xc3", 0).error().code, ErrorCode::kInvalidArgument);
  EXPECT_TRUE(pins.add("http://h/", "Zo\xc3\xab", 0));
}

TEST_F(PinsTest, WhatCannotBeWrittenDownIsNotPinned) {
  Pins pins(files_, directory_.string(), clock_);
  files_.fail(FaultyFileSystem::Call::kRename, EIO);
  EXPECT_FALSE(pins.add("http://h/a", "ann", 0));
  EXPECT_FALSE(pins.is_pinned("http://h/a"));
}

/// Pins and quotas at work in a cache that is too small for what is read through it.
class GroupsTest : public TempDirectoryTest {
 protected:
  static constexpr std::uint64_t kSize = 300'000;
  static constexpr int kObjects = 100;

  CacheHarness& open(std::vector<Quota> quotas = {}) {
    CacheOptions options;
    options.directory = directory_;
    options.size_bytes = 16 * kMiB;
    options.memory_bytes = 64 * kMiB;
    options.quotas = std::move(quotas);
    options.merge_settle_time = {};
    harness_ = std::make_unique<CacheHarness>(std::move(options));
    const auto opened = harness_->open([](FakeOrigin& origin) {
      for (const char* directory : {"a/", "b/"}) {
        for (int i = 0; i < kObjects; ++i)
          origin.put(key(directory, i), {.size = kSize, .lifetime_s = 3600});
      }
    });
    EXPECT_TRUE(opened) << opened.error().message();
    return *harness_;
  }
  static std::string key(const char* directory, int i) { return directory + std::to_string(i); }
  /// What the chunks of a directory's objects take, as the quota counts.
  std::uint64_t used(const std::string& prefix) const {
    std::uint64_t bytes = 0;
    for (const VersionPtr& version : harness_->cache().catalog().versions()) {
      if (version->key().compare(0, prefix.size(), prefix) != 0) continue;
      for (const ChunkPtr& chunk : version->chunks())
        bytes += Ledger::chunk_charge(chunk->range.size());
    }
    return bytes;
  }
  void read_all(CacheHarness& cache, const char* directory, int count = kObjects) {
    for (int i = 0; i < count; ++i) {
      EXPECT_EQ(cache.read_all(key(directory, i), 1), "");
      cache.finish_writes();  // a quota whose room is all being written keeps nothing else
    }
    cache.settle();
  }

  std::unique_ptr<CacheHarness> harness_;
};

TEST_F(GroupsTest, PinnedObjectsOutliveEverythingElse) {
  CacheHarness& cache = open();
  ASSERT_TRUE(cache.cache().pins().add("http://fake/a/", "ann", 0));
  read_all(cache, "a/", 10);
  for (int round = 0; round < 2; ++round) read_all(cache, "b/");
  const auto fetches = cache.origin().fetches();
  read_all(cache, "a/", 10);
  EXPECT_EQ(cache.origin().fetches(), fetches);
  EXPECT_TRUE(cache.disk_within(16 * kMiB));

  ASSERT_TRUE(cache.cache().pins().remove("http://fake/a/", ""));
  // Those that merging or a late write let count as used more often stay for a round more.
  for (int round = 0; round < 10 && used("a/") > 0; ++round) read_all(cache, "b/");
  EXPECT_EQ(used("a/"), 0u) << "unpinned, they go as others do";
}

TEST_F(GroupsTest, PinsCannotFillTheCache) {
  CacheHarness& cache = open();
  ASSERT_TRUE(cache.cache().pins().add("http://fake/", "ann", 0));
  read_all(cache, "a/");
  read_all(cache, "b/");
  EXPECT_GT(used("b/"), kSize) << "what is read now is kept all the same";
  EXPECT_TRUE(cache.disk_within(16 * kMiB));
}

TEST_F(GroupsTest, AQuotaHoldsAtEveryMomentAndLeavesTheRestToOthers) {
  constexpr std::uint64_t kQuota = 3 * kMiB;
  CacheHarness& cache = open({{"http://fake/a/", kQuota}});
  std::mt19937 random(3);
  for (int step = 0; step < 300; ++step) {
    const char* directory = random() % 3 ? "a/" : "b/";
    ASSERT_EQ(cache.read_all(key(directory, static_cast<int>(random() % kObjects)), 1), "");
    cache.finish_writes();
    ASSERT_LE(used("a/"), kQuota);
  }
  cache.settle();
  EXPECT_GT(used("a/"), kQuota / 2);
  EXPECT_GT(used("b/"), 2 * kQuota);
  EXPECT_TRUE(cache.disk_within(16 * kMiB));
  // A lower quota holds from the next start on.
  cache.close();
  CacheHarness& next = open({{"http://fake/a/", kMiB}});
  EXPECT_LE(used("a/"), kMiB);
  EXPECT_EQ(next.read_all(key("a/", 1), 1), "");
}

TEST_F(GroupsTest, TheLongestPrefixCounts) {
  CacheHarness& cache = open({{"http://fake/", 2 * kMiB}, {"http://fake/a/", 4 * kMiB}});
  read_all(cache, "a/");
  read_all(cache, "b/");
  EXPECT_GT(used("a/"), 2 * kMiB);
  EXPECT_LE(used("a/"), 4 * kMiB);
  EXPECT_LE(used("b/"), 2 * kMiB);
  EXPECT_GT(used("b/"), kMiB);
}

}  // namespace
}  // namespace rangecache::cache
