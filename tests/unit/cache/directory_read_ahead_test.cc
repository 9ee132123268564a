#include "cache/directory_read_ahead.h"

#include <fmt/format.h>

#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/store_fixture.h"

namespace rangecache::cache {
namespace {

class DirectoryReadAheadTest : public TempDirectoryTest {
 protected:
  DirectoryReadAheadTest() : harness_(options()) {}
  ~DirectoryReadAheadTest() override { harness_.close(); }

  CacheOptions options() {
    CacheOptions options = quiet_options();
    options.directory = directory_;
    options.size_bytes = 256 * kMiB;
    options.memory_bytes = 64 * kMiB;
    return options;
  }
  void open(bool bucket, std::int64_t lifetime_s = 3600) {
    ASSERT_TRUE(harness_.open([&](FakeOrigin& origin) {
      if (bucket) origin.list_validators();
      for (int i = 0; i < kFiles; ++i)
        origin.put(name(i), {.size = 30'000, .lifetime_s = lifetime_s});
    }));
  }
  static std::string name(int i) { return fmt::format("dir/f{:03}", i); }
  ObjectAddress dir() { return {harness_.shared_origin(), "dir/"}; }
  /// As a mount opens a file.
  SnapshotPtr open_file(int i) {
    std::promise<Result<Found>> found;
    harness_.cache().catalog().lookup(dir(), name(i).substr(4),
                                      [&](Result<Found> f) { found.set_value(std::move(f)); });
    auto file = found.get_future().get();
    EXPECT_TRUE(file) << file.error().message();
    if (!file) return nullptr;
    std::promise<Result<void>> confirmed;
    harness_.cache().catalog().confirm(file->file,
                                       [&](Result<void> r) { confirmed.set_value(std::move(r)); });
    EXPECT_TRUE(confirmed.get_future().get());
    harness_.cache().directory_read_ahead().opened(*file->file);
    return file->file;
  }
  void read_file(int i) {
    const SnapshotPtr file = open_file(i);
    ASSERT_TRUE(file);
    ASSERT_EQ(CacheHarness::read(*file, {0, 30'000}, 1), "") << name(i);
  }

  static constexpr int kFiles = 100;
  CacheHarness harness_;
};

TEST_F(DirectoryReadAheadTest, AWalkThroughADirectoryFetchesEachFileOnceAndMostOfThemAhead) {
  for (const bool bucket : {false, true}) {
    open(bucket);
    for (int i = 0; i < kFiles; ++i) read_file(i);
    EXPECT_EQ(harness_.origin().fetches(), kFiles);
    EXPECT_EQ(harness_.origin().bytes_sent(), kFiles * 30'000u);
    EXPECT_EQ(harness_.origin().stats(), 0);
    EXPECT_EQ(harness_.metric("rangecache_directory_read_ahead_files_total"), kFiles - 2);
    harness_.finish_writes();
    EXPECT_EQ(harness_.metric("rangecache_read_ahead_unused_bytes"), 0);
    harness_.close();
    std::filesystem::remove_all(directory_);
  }
}

TEST_F(DirectoryReadAheadTest, AReaderJoinsAndHurriesWhatIsFetchedAhead) {
  for (const auto& [bucket, heads] : {std::pair{false, false}, {false, true}, {true, false}}) {
    open(bucket);
    read_file(0);
    heads ? harness_.origin().hold_heads() : harness_.origin().hold_after(0);
    // The second file's open fetches ahead: none of it answers before the third is read.
    const SnapshotPtr second = open_file(1);
    const SnapshotPtr third = open_file(2);
    harness_.origin().wait_for_fetches(3);
    const int before = harness_.origin().fetches();
    std::promise<Result<Slices>> promise;
    const ReadTicket ticket = third->read(
        {0, 30'000}, [&](Result<Slices> slices) { promise.set_value(std::move(slices)); });
    harness_.origin().release();
    ASSERT_TRUE(promise.get_future().get());
    EXPECT_EQ(CacheHarness::read(*third, {0, 30'000}, 1), "");
    EXPECT_EQ(harness_.origin().fetches(), before) << "it was under way";
    EXPECT_EQ(harness_.origin().promotions(), 1);
    harness_.close();
    std::filesystem::remove_all(directory_);
  }
}

TEST_F(DirectoryReadAheadTest, WhatNobodyOpensIsCountedAsUnused) {
  open(true);
  for (int i = 0; i < 10; ++i) read_file(i);
  harness_.finish_writes();
  const double ahead = harness_.metric("rangecache_directory_read_ahead_files_total");
  EXPECT_GT(ahead, 8);
  EXPECT_EQ(harness_.metric("rangecache_read_ahead_unused_bytes"), (ahead - 8) * 30'000);
}

TEST_F(DirectoryReadAheadTest, WhatIsStaleAtOnceIsNotFetchedAheadForLong) {
  open(false, 0);
  for (int i = 0; i < kFiles; ++i) {
    read_file(i);
    // What is still under way at the next open is of use: it answers that open itself.
    while (!harness_.origin().idle()) std::this_thread::yield();
  }
  EXPECT_LE(harness_.metric("rangecache_directory_read_ahead_files_total"),
            DirectoryWalk::kFirstCredit);
}

TEST_F(DirectoryReadAheadTest, NothingIsFetchedAheadWhereEachOpenAsksOrNothingMayBeFetched) {
  for (const auto kind : {FreshnessPolicy::Kind::kAlways, FreshnessPolicy::Kind::kOffline}) {
    harness_.options().freshness = FreshnessPolicy{};
    open(true);
    for (int i = 0; i < kFiles; ++i) ASSERT_EQ(harness_.read_all(name(i), 1), "");
    read_file(0);
    harness_.options().freshness = FreshnessPolicy{.kind = kind};
    open(true);
    for (int i = 0; i < kFiles; ++i) read_file(i);
    EXPECT_EQ(harness_.metric("rangecache_directory_read_ahead_files_total"), 0);
    EXPECT_EQ(harness_.origin().bytes_sent(), 0u);
    harness_.close();
    std::filesystem::remove_all(directory_);
  }
}

}  // namespace
}  // namespace rangecache::cache
