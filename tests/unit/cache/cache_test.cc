#include "cache/cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <thread>

#include "tests/unit/cache/fake_origin.h"

namespace rangecache::cache {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kMiB = 1 << 20;

std::vector<std::byte> bytes_of(const Slices& slices) {
  std::vector<std::byte> all;
  for (const Slice& slice : slices) {
    const std::size_t at = all.size();
    all.resize(at + slice.length);
    if (slice.fd < 0) {
      std::memcpy(all.data() + at, slice.data, slice.length);
    } else {
      EXPECT_EQ(::pread(slice.fd, all.data() + at, slice.length, slice.offset),
                static_cast<ssize_t>(slice.length));
    }
  }
  return all;
}

/// The first offset at which `bytes` differ from the object's, or -1.
std::int64_t first_wrong(const std::vector<std::byte>& bytes, std::uint64_t begin, int version) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] != FakeOrigin::content(version, begin + i))
      return static_cast<std::int64_t>(begin + i);
  }
  return -1;
}

class CacheTest : public testing::Test {
 protected:
  CacheTest() {
    directory_ =
        fs::temp_directory_path() / ("rangecache-test-" + std::to_string(::getpid()) + "-" +
                                     testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(directory_);
    fs::create_directory(directory_);
    fs::permissions(directory_, fs::perms::owner_all);
    origin_ = std::make_shared<FakeOrigin>();
  }
  ~CacheTest() override {
    close();
    fs::remove_all(directory_);
  }

  void open(std::uint64_t size = 256 * kMiB, FreshnessPolicy policy = {}) {
    CacheOptions options;
    options.merge_bytes_per_second = options.scrubbing.bytes_per_second = 0;
    options.directory = directory_;
    options.size_bytes = size;
    options.memory_bytes = 64 * kMiB;
    options.freshness = policy;
    metrics_ = std::make_unique<Metrics>();
    auto opened = Cache::open(
        options,
        [this](const std::string&) -> Result<std::shared_ptr<Origin>> {
          return std::shared_ptr<Origin>(origin_);
        },
        posix_file_system(), clock_, *metrics_);
    ASSERT_TRUE(opened) << opened.error().message();
    cache_ = std::move(*opened);
  }
  /// As the daemon stops: the origin first, then the cache.
  void close() {
    if (!cache_) return;
    origin_->stop();
    cache_->stop();
    cache_.reset();
  }
  void restart_origin() {
    auto objects = origin_;
    origin_ = std::make_shared<FakeOrigin>();
  }

  Result<SnapshotPtr> try_open_file(const std::string& key) {
    auto promise = std::make_shared<std::promise<Result<SnapshotPtr>>>();
    cache_->catalog().open({origin_, key}, [promise](Result<SnapshotPtr> snapshot) {
      promise->set_value(std::move(snapshot));
    });
    return promise->get_future().get();
  }
  SnapshotPtr open_file(const std::string& key) {
    auto snapshot = try_open_file(key);
    EXPECT_TRUE(snapshot) << snapshot.error().message();
    return snapshot ? *snapshot : nullptr;
  }
  /// By its name in a directory, as a mount finds it.
  ListingPagesPtr open_directory(const std::string& directory) {
    std::promise<Result<ListingPagesPtr>> promise;
    cache_->catalog().open_directory({origin_, directory}, [&](Result<ListingPagesPtr> pages) {
      promise.set_value(std::move(pages));
    });
    return promise.get_future().get().value();
  }
  ListingPtr list(const std::string& directory) {
    std::promise<Result<ListingPtr>> promise;
    cache_->catalog().list({origin_, directory}, [&](Result<ListingPtr> listing) {
      promise.set_value(std::move(listing));
    });
    return promise.get_future().get().value();
  }
  SnapshotPtr lookup(const std::string& directory, const std::string& name) {
    auto promise = std::make_shared<std::promise<Result<Found>>>();
    cache_->catalog().lookup({origin_, directory}, name, [promise](Result<Found> found) {
      promise->set_value(std::move(found));
    });
    auto found = promise->get_future().get();
    EXPECT_TRUE(found) << found.error().message();
    return found ? found->file : nullptr;
  }
  bool confirmed(const SnapshotPtr& file) {
    auto promise = std::make_shared<std::promise<bool>>();
    cache_->catalog().confirm(
        file, [promise](Result<void> result) { promise->set_value(result.has_value()); });
    return promise->get_future().get();
  }
  static std::future<Result<Slices>> start_read(Snapshot& file, ByteRange range,
                                                ReadTicket* ticket = nullptr) {
    auto promise = std::make_shared<std::promise<Result<Slices>>>();
    auto future = promise->get_future();
    ReadTicket made = file.read(
        range, [promise](Result<Slices> slices) { promise->set_value(std::move(slices)); });
    if (ticket) *ticket = std::move(made);
    return future;
  }
  void expect_right(Snapshot& file, ByteRange range, int version = 1) {
    auto slices = start_read(file, range).get();
    ASSERT_TRUE(slices) << slices.error().message();
    const auto bytes = bytes_of(*slices);
    EXPECT_EQ(bytes.size(), range.intersect({0, file.size()}).size());
    EXPECT_EQ(first_wrong(bytes, range.begin, version), -1);
  }
  /// Until what was read stands on disk.
  void wait_until_stored(Snapshot& file, std::uint64_t bytes) {
    while (file.version()->cached_bytes() < bytes) std::this_thread::yield();
  }
  double metric(const std::string& name) {
    for (const auto& sample : metrics_->samples())
      if (sample.name == name) return sample.value;
    return -1;
  }
  std::vector<fs::path> chunk_files() {
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(directory_ / "objects")) {
      if (entry.is_regular_file() && entry.path().filename() != "meta")
        files.push_back(entry.path());
    }
    return files;
  }

  fs::path directory_;
  ManualClock clock_;
  std::shared_ptr<FakeOrigin> origin_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<Cache> cache_;
};

TEST_F(CacheTest, TheFirstReadOfAnUnknownObjectCostsOneRequest) {
  origin_->put("a", {.size = 10 * kMiB});
  open();
  const auto file = open_file("a");
  EXPECT_EQ(file->size(), 10 * kMiB);
  expect_right(*file, {0, 4096});
  EXPECT_EQ(origin_->fetches(), 1);
  EXPECT_EQ(origin_->stats(), 0);
}

TEST_F(CacheTest, WhatWasReadIsNotFetchedAgain) {
  origin_->put("a", {.size = 10 * kMiB + 123});
  open();
  const auto file = open_file("a");
  expect_right(*file, {0, 10 * kMiB + 123});
  wait_until_stored(*file, 10 * kMiB + 123);
  const auto sent = origin_->bytes_sent();
  EXPECT_EQ(sent, 10 * kMiB + 123);
  expect_right(*file, {0, 10 * kMiB + 123});
  expect_right(*file, {5'000'000, 5'000'001});
  EXPECT_EQ(origin_->bytes_sent(), sent);
}

TEST_F(CacheTest, ARestartKeepsTheCache) {
  origin_->put("a", {.size = 9 * kMiB, .lifetime_s = 3600});
  open();
  auto file = open_file("a");
  expect_right(*file, {0, 9 * kMiB});
  wait_until_stored(*file, 9 * kMiB);
  file.reset();
  close();
  restart_origin();
  origin_->put("a", {.size = 9 * kMiB, .lifetime_s = 3600});
  open();
  file = open_file("a");
  expect_right(*file, {0, 9 * kMiB});
  EXPECT_EQ(origin_->bytes_sent(), 0u);
  EXPECT_EQ(origin_->fetches() + origin_->stats(), 0);
}

TEST_F(CacheTest, AfterItsTimeAVersionIsRevalidatedOnceForAllWhoOpen) {
  origin_->put("a", {.size = kMiB, .lifetime_s = 10});
  open();
  expect_right(*open_file("a"), {0, kMiB});
  clock_.advance_s(11);
  std::vector<std::promise<void>> opened(20);
  for (auto& promise : opened) {
    cache_->catalog().open({origin_, "a"}, [&promise](Result<SnapshotPtr> snapshot) {
      EXPECT_TRUE(snapshot);
      promise.set_value();
    });
  }
  for (auto& promise : opened) promise.get_future().wait();
  EXPECT_EQ(origin_->stats(), 1);
}

TEST_F(CacheTest, StaleWhileRevalidateGivesTheOldVersionAtOnceAndAsks) {
  origin_->put("a", {.size = kMiB, .lifetime_s = 10, .stale_while_revalidate_s = 60});
  open();
  expect_right(*open_file("a"), {0, kMiB});
  clock_.advance_s(20);
  origin_->put("a", {.size = kMiB, .version = 2, .lifetime_s = 10, .stale_while_revalidate_s = 60});
  expect_right(*open_file("a"), {0, kMiB}, 1);
  EXPECT_GE(metrics_->counter("rangecache_stale_served_total", "").value(), 1u);
  while (open_file("a")->version()->validator().value != "\"v2\"") std::this_thread::yield();
  EXPECT_EQ(origin_->stats(), 1);
  clock_.advance_s(100);  // beyond the grace: the open waits for the answer
  origin_->put("a", {.size = kMiB, .version = 3});
  expect_right(*open_file("a"), {0, kMiB}, 3);
}

TEST_F(CacheTest, StaleIfErrorOfAResponseHoldsForItsTime) {
  origin_->put("a", {.size = kMiB, .lifetime_s = 10, .stale_if_error_s = 60});
  open();
  expect_right(*open_file("a"), {0, kMiB});
  clock_.advance_s(30);
  origin_->fail_next(ErrorCode::kUnreachable);
  expect_right(*open_file("a"), {0, kMiB});
  EXPECT_EQ(metrics_->counter("rangecache_stale_served_total", "").value(), 1u);
  clock_.advance_s(60);
  origin_->fail_next(ErrorCode::kUnreachable);
  EXPECT_EQ(try_open_file("a").error().code, ErrorCode::kUnreachable);
}

TEST_F(CacheTest, AListingServesPastItsTimeWhileTheOriginIsAway) {
  FreshnessPolicy policy;
  policy.stale_if_error_s = 60;
  origin_->put("dir/a", {.size = kMiB});
  origin_->list_validators();
  open(256 * kMiB, policy);
  ASSERT_TRUE(lookup("dir/", "a"));
  clock_.advance_s(30);
  origin_->fail_next(ErrorCode::kTimedOut);
  EXPECT_TRUE(lookup("dir/", "a"));
  clock_.advance_s(60);
  origin_->fail_next(ErrorCode::kTimedOut);
  std::promise<Result<ListingPtr>> listed;
  cache_->catalog().list({origin_, "dir/"},
                         [&](Result<ListingPtr> listing) { listed.set_value(std::move(listing)); });
  EXPECT_FALSE(listed.get_future().get());
}

TEST_F(CacheTest, AnOldHandleNeverMixesVersions) {
  origin_->put("a", {.size = 8 * kMiB, .lifetime_s = 0});
  open();
  const auto old_file = open_file("a");
  expect_right(*old_file, {0, 4 * kMiB});
  wait_until_stored(*old_file, 4 * kMiB);
  origin_->put("a", {.size = 8 * kMiB, .version = 2, .lifetime_s = 0});
  const auto missing = start_read(*old_file, {6 * kMiB, 7 * kMiB}).get();
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ErrorCode::kStale);
  expect_right(*old_file, {0, 4 * kMiB}, 1);
  const auto new_file = open_file("a");
  expect_right(*new_file, {0, 8 * kMiB}, 2);
  expect_right(*old_file, {0, 4 * kMiB}, 1);
}

TEST_F(CacheTest, AChangeThatAnOldHandleNoticesIsSeenByTheNextOpen) {
  origin_->put("a", {.size = 8 * kMiB, .lifetime_s = 3600});
  open();
  const auto old_file = open_file("a");
  expect_right(*old_file, {0, kMiB});
  origin_->put("a", {.size = 3 * kMiB, .version = 2, .lifetime_s = 3600});
  EXPECT_FALSE(start_read(*old_file, {6 * kMiB, 7 * kMiB}).get());
  const auto new_file = open_file("a");
  EXPECT_EQ(new_file->size(), 3 * kMiB);
  expect_right(*new_file, {0, 3 * kMiB}, 2);
}

TEST_F(CacheTest, ManyReadersOfOneColdFileFetchItOnce) {
  origin_->put("a", {.size = 16 * kMiB});
  open();
  const auto file = open_file("a");
  std::vector<std::thread> readers;
  for (int i = 0; i < 16; ++i) {
    readers.emplace_back([&, i] {
      for (std::uint64_t at = 0; at < 16 * kMiB; at += 100'000 + i * 1000)
        expect_right(*file, {at, at + 128 * 1024});
    });
  }
  for (auto& reader : readers) reader.join();
  EXPECT_EQ(origin_->bytes_sent(), 16 * kMiB);
}

TEST_F(CacheTest, BytesAreServedAsTheyArrive) {
  origin_->put("a", {.size = 8 * kMiB});
  open();
  const auto file = open_file("a");
  origin_->hold_after(2 * kMiB);
  auto all = start_read(*file, {0, 8 * kMiB});
  expect_right(*file, {kMiB, kMiB + 4096});  // although its flight is far from complete
  origin_->release();
  EXPECT_TRUE(all.get());
}

TEST_F(CacheTest, ACancelledReaderDoesNotCancelOthers) {
  origin_->put("a", {.size = 8 * kMiB});
  open();
  const auto file = open_file("a");
  origin_->hold_after(100'000);
  ReadTicket ticket;
  auto first = start_read(*file, {kMiB, 2 * kMiB}, &ticket);
  auto second = start_read(*file, {kMiB, 2 * kMiB});
  ticket.cancel();
  EXPECT_EQ(first.get().error().code, ErrorCode::kCancelled);
  origin_->release();
  auto slices = second.get();
  ASSERT_TRUE(slices);
  EXPECT_EQ(first_wrong(bytes_of(*slices), kMiB, 1), -1);
}

TEST_F(CacheTest, AThousandReadsOnAStalledOriginLeaveOthersFast) {
  origin_->put("slow", {.size = 512 * kMiB});
  origin_->put("cached", {.size = kMiB});
  open();
  const auto cached = open_file("cached");
  expect_right(*cached, {0, kMiB});
  wait_until_stored(*cached, kMiB);
  const auto slow = open_file("slow");
  origin_->hold_after(0);
  std::vector<std::future<Result<Slices>>> stuck;
  for (std::uint64_t i = 0; i < 1000; ++i)
    stuck.push_back(start_read(*slow, {i * 500'000 + kMiB, i * 500'000 + kMiB + 4096}));
  // All of this on one thread: nothing above may have blocked it.
  for (int i = 0; i < 100; ++i) expect_right(*cached, {0, kMiB});
  origin_->release();
  for (auto& read : stuck) EXPECT_TRUE(read.get());
}

TEST_F(CacheTest, AFailedFetchFailsItsReadersAndTheNextReadTriesAgain) {
  origin_->put("a", {.size = 4 * kMiB});
  open();
  const auto file = open_file("a");
  expect_right(*file, {0, 64 * 1024});  // the first contact is over
  origin_->fail_next(ErrorCode::kOriginFailed);
  EXPECT_EQ(start_read(*file, {kMiB, 2 * kMiB}).get().error().code, ErrorCode::kOriginFailed);
  expect_right(*file, {kMiB, 2 * kMiB});
}

TEST_F(CacheTest, ACorruptChunkIsFetchedAgain) {
  origin_->put("a", {.size = 4 * kMiB, .lifetime_s = 3600});
  open();
  auto file = open_file("a");
  expect_right(*file, {0, 4 * kMiB});
  wait_until_stored(*file, 4 * kMiB);
  file.reset();
  close();
  for (const auto& path : chunk_files()) {
    std::fstream chunk(path, std::ios::in | std::ios::out | std::ios::binary);
    chunk.seekg(fs::file_size(path) / 2);
    const char byte = static_cast<char>(chunk.get());
    chunk.seekp(fs::file_size(path) / 2);
    chunk.put(static_cast<char>(byte ^ 0x10));
  }
  restart_origin();
  origin_->put("a", {.size = 4 * kMiB, .lifetime_s = 3600});
  open();
  file = open_file("a");
  expect_right(*file, {0, 4 * kMiB});
  while (metric("rangecache_corrupt_chunks_total") == 0) std::this_thread::yield();
}

TEST_F(CacheTest, AVanishedChunkIsFetchedAgain) {
  origin_->put("a", {.size = 4 * kMiB, .lifetime_s = 3600});
  open();
  auto file = open_file("a");
  expect_right(*file, {0, 4 * kMiB});
  wait_until_stored(*file, 4 * kMiB);
  file.reset();
  close();
  for (const auto& path : chunk_files()) fs::remove(path);
  restart_origin();
  origin_->put("a", {.size = 4 * kMiB, .lifetime_s = 3600});
  open();
  expect_right(*open_file("a"), {0, 4 * kMiB});
}

TEST_F(CacheTest, TheLimitHoldsWhileMuchMoreIsRead) {
  origin_->put("a", {.size = 128 * kMiB});
  open(32 * kMiB);
  const auto file = open_file("a");
  for (std::uint64_t at = 0; at < 128 * kMiB; at += kMiB) {
    expect_right(*file, {at, at + kMiB});
    std::uint64_t used = 0;
    for (const auto& entry : fs::recursive_directory_iterator(
             directory_, fs::directory_options::skip_permission_denied)) {
      struct stat status {};
      if (::lstat(entry.path().c_str(), &status) == 0) used += status.st_blocks * 512;
    }
    ASSERT_LE(used, 32 * kMiB);
  }
  EXPECT_GT(metric("rangecache_evicted_chunks_total"), 0);
}

TEST_F(CacheTest, AReaderKeepsItsBytesWhileTheirChunkIsEvicted) {
  origin_->put("a", {.size = 4 * kMiB});
  open();
  const auto file = open_file("a");
  expect_right(*file, {0, 4 * kMiB});
  wait_until_stored(*file, 4 * kMiB);
  const double before = metric("rangecache_disk_bytes");
  auto slices = start_read(*file, {0, 4 * kMiB}).get();
  ASSERT_TRUE(slices);
  std::promise<void> evicted;
  cache_->evict([](const Version&) { return true; }, [&](Cache::Evicted) { evicted.set_value(); });
  evicted.get_future().wait();
  EXPECT_TRUE(chunk_files().empty());
  EXPECT_GE(metric("rangecache_disk_bytes"), before - 16 * 4096) << "open files still take space";
  EXPECT_EQ(first_wrong(bytes_of(*slices), 0, 1), -1);
  slices->clear();
  EXPECT_LT(metric("rangecache_disk_bytes"), before - 3 * kMiB);
  expect_right(*file, {0, 4 * kMiB});
}

TEST_F(CacheTest, AnOriginThatIgnoresRangesIsReadOnce) {
  origin_->ignore_ranges(true);
  origin_->put("a", {.size = 20 * kMiB});
  open();
  const auto file = open_file("a");
  std::vector<std::future<Result<Slices>>> reads;
  for (std::uint64_t at : {15 * kMiB, 3 * kMiB, 19 * kMiB, 0 * kMiB})
    reads.push_back(start_read(*file, {at, at + kMiB}));
  std::uint64_t begins[] = {15 * kMiB, 3 * kMiB, 19 * kMiB, 0};
  for (int i = 0; i < 4; ++i) {
    auto slices = reads[i].get();
    ASSERT_TRUE(slices) << slices.error().message();
    EXPECT_EQ(first_wrong(bytes_of(*slices), begins[i], 1), -1);
  }
  EXPECT_EQ(origin_->bytes_sent(), 20 * kMiB);
}

TEST_F(CacheTest, AnObjectWithoutValidatorComesWholeInOneResponse) {
  origin_->put("a", {.size = 9 * kMiB, .validator = false});
  open();
  const auto file = open_file("a");
  expect_right(*file, {7 * kMiB, 8 * kMiB});
  expect_right(*file, {0, 9 * kMiB});
  for (const ByteRange range : origin_->ranges()) EXPECT_EQ(range.begin, 0u);
  EXPECT_LE(origin_->fetches(), 2);
}

TEST_F(CacheTest, AListedFileThatChangedBeforeItsFirstReadIsStaleAndThenNew) {
  origin_->put("d/a", {.size = kMiB});
  open();
  std::promise<SnapshotPtr> found;
  cache_->catalog().lookup({origin_, "d/"}, "a", [&](Result<Found> result) {
    ASSERT_TRUE(result);
    found.set_value(result->file);
  });
  const SnapshotPtr file = found.get_future().get();
  EXPECT_EQ(origin_->fetches() + origin_->stats(), 0) << "the listing told its size";
  origin_->put("d/a", {.size = 2 * kMiB, .version = 2});
  EXPECT_EQ(start_read(*file, {0, 4096}).get().error().code, ErrorCode::kStale);
  const auto fresh = open_file("d/a");
  EXPECT_EQ(fresh->size(), 2 * kMiB);
  expect_right(*fresh, {0, 2 * kMiB}, 2);
}

TEST_F(CacheTest, AListingThatNamesVersionsIsEnoughToOpenThem) {
  for (const char* key : {"d/a", "d/b"}) origin_->put(key, {.size = 5000, .lifetime_s = 0});
  origin_->list_validators();
  open();
  for (int round = 0; round < 3; ++round) {
    for (const char* name : {"a", "b"}) {
      const SnapshotPtr file = lookup("d/", name);
      EXPECT_TRUE(confirmed(file));
      expect_right(*file, {0, 5000});
    }
    clock_.advance_s(20);  // the listing is old: one more tells of all again
  }
  EXPECT_EQ(origin_->stats(), 0);
  EXPECT_EQ(origin_->lists(), 3);
  EXPECT_EQ(origin_->fetches(), 2);
}

TEST_F(CacheTest, OfAWalkedTreeOnlyWhatIsUsedIsKept) {
  for (int folder = 0; folder < 5; ++folder)
    for (int i = 0; i < 10'000; ++i) origin_->put(fmt::format("{}/{}", folder, i), {.size = 5000});
  open();
  const SnapshotPtr held = lookup("0/", "7");
  const SnapshotPtr read = lookup("0/", "8");
  expect_right(*read, {0, 5000});
  for (int folder = 0; folder < 5; ++folder)
    for (int i = 0; i < 10'000; ++i) lookup(fmt::format("{}/", folder), fmt::format("{}", i));
  EXPECT_LT(metric("rangecache_objects"), 20'000);
  EXPECT_EQ(lookup("0/", "7"), held);
  EXPECT_EQ(lookup("0/", "8"), read);
  expect_right(*lookup("0/", "9"), {0, 5000});  // told again
  EXPECT_EQ(origin_->lists(), 5);
  EXPECT_EQ(origin_->stats(), 0);
}

TEST_F(CacheTest, NamesThatWereLookedForInVainAreForgotten) {
  open();
  for (int i = 0; i < 50'000; ++i) {
    EXPECT_EQ(try_open_file(fmt::format("{}", i)).error().code, ErrorCode::kNotFound);
    clock_.advance_s(1);
  }
  EXPECT_LT(metric("rangecache_objects"), 20'000);
}

TEST_F(CacheTest, AListingIsFetchedNoFurtherThanItIsWanted) {
  for (int i = 1000; i < 1100; ++i) origin_->put("d/" + std::to_string(i), {.size = 5000});
  origin_->list_validators();
  origin_->list_in_pages_of(10);
  open();
  // Who wants one name pays for one page, or asks for the name itself.
  EXPECT_EQ(lookup("d/", "1004")->size(), 5000u);
  EXPECT_EQ(lookup("d/", "1099")->size(), 5000u);
  EXPECT_EQ(origin_->lists(), 1);
  EXPECT_EQ(origin_->stats(), 1);

  const ListingPagesPtr pages = open_directory("d/");
  const auto page = [&](std::size_t index) {
    std::promise<Result<ListingPtr>> promise;
    pages->page(index, [&](Result<ListingPtr> got) { promise.set_value(std::move(got)); });
    return promise.get_future().get().value();
  };
  EXPECT_EQ(page(0)->entries.size(), 9u) << "\"1009/\" could hide the tenth";
  EXPECT_EQ(page(3)->entries.front().name, "1029");
  EXPECT_EQ(origin_->lists(), 4);
  EXPECT_FALSE(page(10)) << "there are ten";
  EXPECT_EQ(origin_->lists(), 10) << "a request a page, whoever asks";
  EXPECT_EQ(open_directory("d/")->find("1099").entry->size, 5000u);
  EXPECT_EQ(list("d/")->entries.size(), 100u);
  EXPECT_TRUE(open_directory("d/")->find("none").complete);
  EXPECT_EQ(origin_->lists(), 10);
}

TEST_F(CacheTest, APartOfAListingIsBelievedForItsTimeOnly) {
  for (int i = 10; i < 40; ++i) origin_->put("d/" + std::to_string(i), {.size = 5000});
  origin_->list_validators();
  origin_->list_in_pages_of(10);
  open();
  const ListingPagesPtr old = open_directory("d/");
  clock_.advance_s(20);
  origin_->put("d/10a", {.size = 7000});
  EXPECT_EQ(open_directory("d/")->find("10a").entry->size, 7000u);
  EXPECT_FALSE(old->find("10a").entry) << "an open directory stays what it was";
  EXPECT_EQ(origin_->lists(), 2);
}

TEST_F(CacheTest, APageThatFailsFailsThoseWhoWantItAndTheListingIsAskedForAgain) {
  for (int i = 10; i < 40; ++i) origin_->put("d/" + std::to_string(i), {.size = 5000});
  origin_->list_validators();
  origin_->list_in_pages_of(10);
  open();
  const ListingPagesPtr pages = open_directory("d/");
  origin_->fail_next(ErrorCode::kTimedOut);
  std::promise<Result<ListingPtr>> broken;
  pages->page(1, [&](Result<ListingPtr> got) { broken.set_value(std::move(got)); });
  EXPECT_EQ(broken.get_future().get().error().code, ErrorCode::kTimedOut);
  clock_.advance_s(2);
  EXPECT_EQ(list("d/")->entries.size(), 30u);
}

TEST_F(CacheTest, AListingThatComesBackToTheSamePageIsAnError) {
  for (int i = 10; i < 40; ++i) origin_->put("d/" + std::to_string(i), {.size = 5000});
  origin_->list_in_pages_of(10);
  origin_->list_the_same_page_again();
  open();
  std::promise<Result<ListingPtr>> listed;
  cache_->catalog().list({origin_, "d/"},
                         [&](Result<ListingPtr> listing) { listed.set_value(std::move(listing)); });
  EXPECT_EQ(listed.get_future().get().error().code, ErrorCode::kOriginFailed);
  EXPECT_EQ(origin_->lists(), 2);
}

TEST_F(CacheTest, AnOlderListingDoesNotBringAnOldVersionBack) {
  origin_->put("d/a", {.size = 5000});
  origin_->put("d/b", {.size = 5000});
  origin_->list_validators();
  open();
  expect_right(*lookup("d/", "a"), {0, 5000});
  origin_->put("d/a", {.size = 6000, .version = 2});
  clock_.advance_s(10);  // the version's time is over; so is the listing's
  lookup("d/", "b");     // which is asked for again, but before the change below
  origin_->put("d/a", {.size = 7000, .version = 3});
  const SnapshotPtr listed = lookup("d/", "a");
  EXPECT_EQ(start_read(*listed, {0, 4096}).get().error().code, ErrorCode::kStale);
  const SnapshotPtr now = lookup("d/", "a");
  EXPECT_EQ(now->size(), 7000u) << "the change that was met made the listing worthless";
  expect_right(*now, {0, 7000}, 3);
}

TEST_F(CacheTest, AMissingObjectIsRememberedAsMissingOnlyForAWhile) {
  open();
  EXPECT_EQ(try_open_file("nothing").error().code, ErrorCode::kNotFound);
  const int fetches = origin_->fetches();
  EXPECT_EQ(try_open_file("nothing").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(origin_->fetches(), fetches);
  origin_->put("nothing", {.size = 10});
  clock_.advance_s(6);
  EXPECT_EQ(open_file("nothing")->size(), 10u);
}

TEST_F(CacheTest, ManyUnboundReadsWaitForOneFirstContact) {
  origin_->put("d/a", {.size = 8 * kMiB});
  open();
  std::promise<SnapshotPtr> found;
  cache_->catalog().lookup({origin_, "d/"}, "a",
                           [&](Result<Found> result) { found.set_value(result->file); });
  const SnapshotPtr file = found.get_future().get();
  std::vector<std::future<Result<Slices>>> reads;
  for (int i = 0; i < 50; ++i) reads.push_back(start_read(*file, {0, 2 * kMiB}));
  for (auto& read : reads) {
    auto slices = read.get();
    ASSERT_TRUE(slices);
    EXPECT_EQ(first_wrong(bytes_of(*slices), 0, 1), -1);
  }
  EXPECT_EQ(origin_->bytes_sent(), 2 * kMiB);
}

}  // namespace
}  // namespace rangecache::cache
