#include "base/log.h"
#include "cache/ledger.h"
#include "tests/support/faulty_file_system.h"
#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/store_fixture.h"

namespace rangecache::cache {
namespace {

namespace fs = std::filesystem;
using Call = FaultyFileSystem::Call;

/// A failing cache disk is never a failing read.
class CacheFaultsTest : public TempDirectoryTest {
 protected:
  static constexpr std::uint64_t kSize = kMiB + 200'777;
  static constexpr std::uint64_t kLarge = 24 * kMiB;

  CacheFaultsTest() : files_(posix_file_system()) { set_log_level(LogLevel::kOff); }

  CacheHarness& harness(std::uint64_t limit = 256 * kMiB,
                        WriterKind writer = WriterKind::kThreads) {
    CacheOptions options = quiet_options();
    options.directory = directory_;
    options.size_bytes = limit;
    options.memory_bytes = 64 * kMiB;
    options.writer = writer;
    harness_ = std::make_unique<CacheHarness>(std::move(options), files_);
    return *harness_;
  }
  static void objects(FakeOrigin& origin) {
    for (const char* key : {"a", "b", "c", "d"})
      origin.put(key, {.size = kSize, .lifetime_s = 3600});
    origin.put("large", {.size = kLarge, .lifetime_s = 3600});
  }

  FaultyFileSystem files_;
  std::unique_ptr<CacheHarness> harness_;
};

TEST_F(CacheFaultsTest, ADiskThatFailsForGoodLeavesReadsRight) {
  for (const Call call : {Call::kOpen, Call::kWrite, Call::kRename, Call::kMakeDirectory,
                          Call::kSetAttribute, Call::kStatus, Call::kUnlink}) {
    for (const int error_number : {ENOSPC, EIO, EROFS}) {
      SCOPED_TRACE(std::to_string(static_cast<int>(call)) + " " + std::to_string(error_number));
      harness_.reset();
      fs::remove_all(directory_);
      CacheHarness& cache = harness();
      ASSERT_TRUE(cache.open(objects));
      EXPECT_EQ(cache.read_all("a", 1), "");
      cache.settle();
      files_.fail(call, error_number, 1, FaultyFileSystem::kAlways);
      for (const char* key : {"a", "b", "a", "b"}) EXPECT_EQ(cache.read_all(key, 1), "");
      cache.settle();
      files_.heal();
      // Healed, it goes on as if nothing had been, now and in the next run.
      EXPECT_EQ(cache.read_all("c", 1), "");
      ASSERT_TRUE(cache.open(objects));
      EXPECT_EQ(cache.temporary_files(), 0u);
      for (const char* key : {"a", "b", "c"}) EXPECT_EQ(cache.read_all(key, 1), "");
      EXPECT_TRUE(cache.disk_within(UINT64_MAX));
    }
  }
}

TEST_F(CacheFaultsTest, WhateverSingleCallFailsReadsAreRightInThisRunAndTheNext) {
  for (const Call call :
       {Call::kOpen, Call::kWrite, Call::kRename, Call::kMakeDirectory, Call::kSetAttribute,
        Call::kStatus, Call::kUnlink, Call::kReadFile, Call::kList}) {
    for (int nth = 1;; ++nth) {
      SCOPED_TRACE(std::to_string(static_cast<int>(call)) + ", call " + std::to_string(nth));
      harness_.reset();
      fs::remove_all(directory_);
      CacheHarness& cache = harness();
      ASSERT_TRUE(cache.open(objects));
      const int before = files_.failures();
      files_.fail(call, EIO, nth);
      EXPECT_EQ(cache.read_all("a", 1), "");
      cache.close();
      // The start may fail for it, but must not do harm.
      if (cache.open(objects)) {
        EXPECT_EQ(cache.read_all("a", 1), "");
        EXPECT_EQ(cache.read_all("b", 1), "");
        EXPECT_TRUE(cache.disk_within(UINT64_MAX));
      }
      const bool failed = files_.failures() > before;
      files_.heal();
      ASSERT_TRUE(cache.open(objects));
      EXPECT_EQ(cache.read_all("a", 1), "");
      EXPECT_EQ(cache.read_all("b", 1), "");
      cache.close();
      EXPECT_EQ(cache.temporary_files(), 0u);
      if (!failed || HasFailure()) break;
    }
  }
}

TEST_F(CacheFaultsTest, NothingIsKeptWhileTheDiskFailsAndAllIsKeptAfterwards) {
  CacheHarness& cache = harness();
  ASSERT_TRUE(cache.open(objects));
  files_.fail(Call::kRename, EIO, 1, FaultyFileSystem::kAlways, "/objects/");
  EXPECT_EQ(cache.read_all("a", 1), "");
  cache.settle();
  EXPECT_EQ(cache.chunk_files().size(), 0u);
  EXPECT_GT(cache.metric("rangecache_cache_faults_total"), 0);
  files_.heal();
  EXPECT_EQ(cache.read_all("a", 1), "");
  const auto file = cache.open_file("a");
  ASSERT_TRUE(file);
  while ((*file)->version()->cached_bytes() < kSize) std::this_thread::yield();
  const int fetches = cache.origin().fetches();
  EXPECT_EQ(cache.read_all("a", 1), "");
  EXPECT_EQ(cache.origin().fetches(), fetches);
}

TEST_F(CacheFaultsTest, AFullDiskMakesRoomByEviction) {
  CacheHarness& cache = harness();
  ASSERT_TRUE(cache.open(objects));
  EXPECT_EQ(cache.read_all("large", 1), "");
  {
    const auto file = cache.open_file("large");
    ASSERT_TRUE(file);
    while ((*file)->version()->cached_bytes() < kLarge) std::this_thread::yield();
  }
  cache.settle();
  EXPECT_EQ(cache.metric("rangecache_evicted_chunks_total"), 0);
  files_.fail(Call::kOpen, ENOSPC, 1, 1, "/tmp/");
  EXPECT_EQ(cache.read_all("a", 1), "");
  while (cache.metric("rangecache_evicted_chunks_total") == 0) std::this_thread::yield();
  cache.settle();
  EXPECT_TRUE(cache.disk_within(UINT64_MAX));
  EXPECT_EQ(cache.read_all("a", 1), "");
  EXPECT_EQ(cache.read_all("large", 1), "");
}

TEST_F(CacheFaultsTest, ChunksThatCannotBeDeletedStayCountedAndTheLimitHolds) {
  CacheHarness& cache = harness(17 * kMiB);
  ASSERT_TRUE(cache.open(objects));
  files_.fail(Call::kUnlink, EPERM, 1, FaultyFileSystem::kAlways, "/objects/");
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(cache.read_all("large", 1), "");
    cache.settle();
    EXPECT_TRUE(cache.disk_within(17 * kMiB));
    EXPECT_TRUE(cache.disk_within(UINT64_MAX));
  }
  // The next run finds what is still there, also after an orderly stop.
  ASSERT_TRUE(cache.open(objects));
  EXPECT_TRUE(cache.disk_within(UINT64_MAX));
  files_.heal();
  ASSERT_TRUE(cache.open(objects));
  EXPECT_EQ(cache.read_all("large", 1), "");
  cache.settle();
  EXPECT_TRUE(cache.disk_within(17 * kMiB));
}

TEST_F(CacheFaultsTest, ALowerLimitHoldsFromTheNextStartOn) {
  for (int round = 0; round < 2; ++round) {
    CacheHarness& large = harness(128 * kMiB);
    ASSERT_TRUE(large.open(objects));
    EXPECT_EQ(large.read_all("large", 1), "");
    large.close();
    CacheHarness& small = harness(16 * kMiB);
    ASSERT_TRUE(small.open(objects));
    small.settle();
    EXPECT_TRUE(small.disk_within(16 * kMiB));
    EXPECT_TRUE(small.disk_within(UINT64_MAX));
    EXPECT_EQ(small.read_all("large", 1), "");
  }
}

TEST_F(CacheFaultsTest, ACacheOnAFullDiskStillOpensAndServes) {
  CacheHarness& cache = harness();
  ASSERT_TRUE(cache.open(objects));
  EXPECT_EQ(cache.read_all("a", 1), "");
  cache.close();
  files_.fail(Call::kWrite, ENOSPC, 1, FaultyFileSystem::kAlways);
  const auto opened = cache.open(objects);
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_EQ(cache.read_all("a", 1), "");
  EXPECT_EQ(cache.origin().fetches(), 0) << "what is there is of use";
  EXPECT_EQ(cache.read_all("b", 1), "");
  cache.close();
  files_.heal();
  ASSERT_TRUE(cache.open(objects));
  EXPECT_EQ(cache.read_all("a", 1), "");
  EXPECT_EQ(cache.read_all("b", 1), "");
  EXPECT_TRUE(cache.disk_within(UINT64_MAX));
}

TEST_F(CacheFaultsTest, TruncatedAndEmptiedChunksAreFetchedAgain) {
  CacheHarness& cache = harness();
  ASSERT_TRUE(cache.open(objects));
  EXPECT_EQ(cache.read_all("a", 1), "");
  cache.close();
  int i = 0;
  for (const auto& path : cache.chunk_files())
    fs::resize_file(path, std::vector<std::uint64_t>{0, 1, fs::file_size(path) - 1,
                                                     fs::file_size(path) + 1}[i++ % 4]);
  ASSERT_TRUE(cache.open(objects));
  EXPECT_EQ(cache.read_all("a", 1), "");
  // The origin counts bytes after it has handed them over.
  while (cache.origin().bytes_sent() < kSize) std::this_thread::yield();
  EXPECT_EQ(cache.origin().bytes_sent(), kSize);
}

TEST_F(CacheFaultsTest, ZeroedChunksOfTheRightSizeAreNeverServed) {
  // What a power cut leaves of a file whose size reached the disk and whose bytes did not.
  CacheHarness& cache = harness();
  ASSERT_TRUE(cache.open(objects));
  EXPECT_EQ(cache.read_all("a", 1), "");
  cache.close();
  for (const auto& path : cache.chunk_files()) {
    const auto size = fs::file_size(path);
    fs::resize_file(path, 0);
    fs::resize_file(path, size);
  }
  ASSERT_TRUE(cache.open(objects));
  EXPECT_EQ(cache.read_all("a", 1), "");
  cache.settle();
  EXPECT_GT(cache.metric("rangecache_corrupt_chunks_total"), 0);
}

TEST_F(CacheFaultsTest, SwappedChunksAreNeverServed) {
  CacheHarness& cache = harness();
  ASSERT_TRUE(cache.open(objects));
  for (const char* key : {"a", "b"}) EXPECT_EQ(cache.read_all(key, 1), "");
  cache.close();
  const auto paths = cache.chunk_files();
  std::map<std::uintmax_t, std::vector<fs::path>> by_size;
  for (const auto& path : paths) by_size[fs::file_size(path)].push_back(path);
  int swapped = 0;
  for (const auto& [size, same] : by_size) {
    for (std::size_t i = 0; i + 1 < same.size(); i += 2, ++swapped) {
      fs::rename(same[i], root_ / "aside");
      fs::rename(same[i + 1], same[i]);
      fs::rename(root_ / "aside", same[i + 1]);
    }
  }
  ASSERT_GT(swapped, 0);
  ASSERT_TRUE(cache.open(objects));
  for (const char* key : {"a", "b"}) EXPECT_EQ(cache.read_all(key, 1), "");
}

TEST_F(CacheFaultsTest, WithoutItsManifestTheCacheIsRebuiltFromProvedChunks) {
  CacheHarness& cache = harness();
  ASSERT_TRUE(cache.open(objects));
  EXPECT_EQ(cache.read_all("a", 1), "");
  cache.close();
  ASSERT_FALSE(cache.chunk_files().empty());
  // One of them is spoilt: it must not be taken in.
  const fs::path spoilt = cache.chunk_files().front();
  std::string text = read_text(spoilt);
  text[text.size() / 2] = static_cast<char>(text[text.size() / 2] ^ 1);
  std::fstream(spoilt, std::ios::in | std::ios::out | std::ios::binary) << text;
  fs::remove_all(directory_ / "manifest");
  ASSERT_TRUE(cache.open(objects));
  cache.finish_walk();
  EXPECT_EQ(cache.read_all("a", 1), "");
  cache.settle();
  EXPECT_GE(cache.metric("rangecache_corrupt_chunks_total"), 1)
      << "it is proved before its first use";
  EXPECT_LT(cache.origin().bytes_sent(), kSize);
  EXPECT_EQ(cache.origin().stats(), 1) << "freshness was lost: it must ask";
}

TEST_F(CacheFaultsTest, AChunkBesideAnotherOfTheSameBeginIsNotLostToTheLedger) {
  CacheHarness& cache = harness();
  ASSERT_TRUE(cache.open(objects));
  EXPECT_EQ(cache.read_all("a", 1), "");
  cache.close();
  // As after a kill: a file that no manifest names, with the begin of one that it does.
  const fs::path known = cache.chunk_files().front();
  std::string name = known.filename();
  name.back() = name.back() == '1' ? '2' : '1';
  fs::copy_file(known, known.parent_path() / name);
  for (const auto& entry : fs::directory_iterator(directory_ / "manifest"))
    std::ofstream(entry.path(), std::ios::app) << "torn";
  ASSERT_TRUE(cache.open(objects));
  cache.finish_walk();
  EXPECT_TRUE(cache.disk_within(UINT64_MAX));
  EXPECT_FALSE(fs::exists(known.parent_path() / name));
  EXPECT_EQ(cache.read_all("a", 1), "");
}

TEST_F(CacheFaultsTest, VersionsOfWhichNothingIsLeftGoFromTheDisk) {
  CacheHarness& cache = harness();
  ASSERT_TRUE(cache.open(objects));
  EXPECT_EQ(cache.read_all("a", 1), "");
  cache.close();
  for (const auto& path : cache.chunk_files()) fs::resize_file(path, fs::file_size(path) - 1);
  fs::remove_all(directory_ / "manifest");
  ASSERT_TRUE(cache.open(objects));
  cache.finish_walk();
  EXPECT_EQ(cache.chunk_files().size(), 0u);
  for (const auto& entry : fs::recursive_directory_iterator(directory_ / "objects"))
    EXPECT_EQ(entry.path().filename().string().size(), 2u) << entry.path();
}

}  // namespace
}  // namespace rangecache::cache
