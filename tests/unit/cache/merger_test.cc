#include "cache/merger.h"

#include <random>

#include "base/log.h"
#include "tests/support/faulty_file_system.h"
#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/store_fixture.h"

namespace rangecache::cache {
namespace {

namespace fs = std::filesystem;
using Call = FaultyFileSystem::Call;

class MergerTest : public TempDirectoryTest {
 protected:
  static constexpr std::uint64_t kSize = 9 * kMiB + 777;

  CacheHarness& open(std::uint64_t limit = 256 * kMiB, std::chrono::milliseconds settle = {}) {
    if (!harness_) {
      CacheOptions options;
      options.directory = directory_;
      options.size_bytes = limit;
      options.memory_bytes = 64 * kMiB;
      options.writer = WriterKind::kThreads;
      options.merge_bytes_per_second = std::uint64_t{1} << 40;
      options.merge_settle_time = settle;
      harness_ = std::make_unique<CacheHarness>(std::move(options), files_);
    }
    const auto opened = harness_->open(
        [](FakeOrigin& origin) { origin.put("a", {.size = kSize, .lifetime_s = 3600}); });
    EXPECT_TRUE(opened) << opened.error().message();
    return *harness_;
  }
  void wait_for_files(CacheHarness& cache, std::size_t count) {
    while (cache.metric("rangecache_chunks") != static_cast<double>(count) ||
           cache.chunk_files().size() != count)
      std::this_thread::yield();
  }

  FaultyFileSystem files_{posix_file_system()};
  std::unique_ptr<CacheHarness> harness_;
};

TEST_F(MergerTest, ACompleteObjectBecomesOneFileAndStaysSoAfterARestart) {
  {
    CacheHarness& cache = open();
    EXPECT_EQ(cache.read_all("a", 1), "");
    wait_for_files(cache, 1);
    EXPECT_EQ(fs::file_size(cache.chunk_files().front()), kSize);
    EXPECT_EQ(cache.read_all("a", 1), "");
    cache.settle();
    EXPECT_TRUE(cache.disk_within(UINT64_MAX));
    EXPECT_GE(cache.metric("rangecache_merged_chunks_total"), 3);
    EXPECT_EQ(cache.metric("rangecache_evicted_chunks_total"), 0);
  }
  CacheHarness& cache = open();
  EXPECT_EQ(cache.chunk_files().size(), 1u);
  EXPECT_EQ(cache.read_all("a", 1), "");
  EXPECT_EQ(cache.origin().bytes_sent(), 0u);
  EXPECT_TRUE(cache.disk_within(UINT64_MAX));
}

TEST_F(MergerTest, AMergeThatTakesLongEndsWithTheDaemon) {
  CacheOptions options;
  options.directory = directory_;
  options.size_bytes = 256 * kMiB;
  options.memory_bytes = 64 * kMiB;
  options.merge_bytes_per_second = 1;  // 108 days
  options.merge_burst_bytes = kMiB;
  options.merge_settle_time = {};
  CacheHarness cache(std::move(options), files_);
  const auto put = [](FakeOrigin& origin) { origin.put("a", {.size = kSize, .lifetime_s = 3600}); };
  ASSERT_TRUE(cache.open(put));
  EXPECT_EQ(cache.read_all("a", 1), "");
  while (cache.metric("rangecache_merging_objects") == 0) std::this_thread::yield();
  ASSERT_TRUE(cache.open(put)) << "closed and opened again";
  EXPECT_EQ(cache.read_all("a", 1), "");
  EXPECT_TRUE(fs::is_empty(directory_ / "tmp"));
}

TEST_F(MergerTest, ACopyThatComesOutWrongDoesNotReplaceWhatIsRight) {
  files_.spoil_copies();
  CacheHarness& cache = open();
  EXPECT_EQ(cache.read_all("a", 1), "");
  while (cache.metric("rangecache_cache_faults_total") == 0) std::this_thread::yield();
  cache.finish_writes();
  const auto fetches = cache.origin().fetches();
  EXPECT_EQ(cache.read_all("a", 1), "");
  EXPECT_EQ(cache.origin().fetches(), fetches) << "nothing was lost";
  EXPECT_EQ(cache.metric("rangecache_merged_chunks_total"), 0);
  EXPECT_EQ(cache.metric("rangecache_corrupt_chunks_total"), 0);
}

TEST_F(MergerTest, ACopyBeyondTheBurstIsProvedToo) {
  CacheOptions options;
  options.directory = directory_;
  options.size_bytes = 256 * kMiB;
  options.memory_bytes = 64 * kMiB;
  options.merge_bytes_per_second = std::uint64_t{1} << 40;
  options.merge_burst_bytes = kMiB;
  options.merge_settle_time = {};
  CacheHarness cache(std::move(options), files_);
  ASSERT_TRUE(
      cache.open([](FakeOrigin& origin) { origin.put("a", {.size = kSize, .lifetime_s = 3600}); }));
  EXPECT_EQ(cache.read_all("a", 1), "");
  wait_for_files(cache, 1);
  const auto file = cache.open_file("a");
  ASSERT_TRUE(file);
  EXPECT_TRUE((*file)->version()->whole_file()) << "the kernel may read it by itself";
}

TEST_F(MergerTest, SlicesOfWhatWasMergedStayGood) {
  CacheHarness& cache = open(256 * kMiB, std::chrono::hours(1));  // nothing is merged meanwhile
  const auto file = cache.open_file("a");
  ASSERT_TRUE(file);
  EXPECT_EQ(cache.read_all("a", 1), "");
  while ((*file)->version()->cached_bytes() < kSize) std::this_thread::yield();
  std::promise<Result<Slices>> promise;
  const ReadTicket ticket = (*file)->read(
      {0, kSize}, [&](Result<Slices> slices) { promise.set_value(std::move(slices)); });
  Result<Slices> slices = promise.get_future().get();
  ASSERT_TRUE(slices);
  ASSERT_GT(slices->size(), 1u);
  const std::uint64_t before = cache.cache().disk_used();
  cache.cache().merge_now((*file)->version());
  wait_for_files(cache, 1);
  EXPECT_GE(cache.cache().disk_used(), before + kSize) << "unlinked, but open: they still count";
  std::uint64_t at = 0;
  for (const Slice& slice : *slices) {
    std::vector<std::byte> bytes(slice.length);
    ASSERT_EQ(::pread(slice.fd, bytes.data(), slice.length, static_cast<off_t>(slice.offset)),
              static_cast<ssize_t>(slice.length));
    for (const std::byte byte : bytes) ASSERT_EQ(byte, FakeOrigin::content(1, at++));
  }
  *slices = {};
  EXPECT_LT(cache.cache().disk_used(), before + kMiB);
}

TEST_F(MergerTest, RandomReadsEndInFewFiles) {
  CacheHarness& cache = open();
  const auto file = cache.open_file("a");
  ASSERT_TRUE(file);
  std::mt19937 random(3);
  while ((*file)->version()->cached_bytes() < kSize) {
    const std::uint64_t begin = random() % (kSize - 1);
    ASSERT_EQ(CacheHarness::read(**file, {begin, std::min(begin + 4096, kSize)}, 1), "");
  }
  wait_for_files(cache, 1);
  EXPECT_EQ(cache.read_all("a", 1), "");
  EXPECT_EQ(cache.origin().bytes_sent(), kSize);
}

TEST_F(MergerTest, ABadChunkIsNotLaunderedByAMerge) {
  CacheHarness& cache = open(256 * kMiB, std::chrono::hours(1));
  EXPECT_EQ(cache.read_all("a", 1), "");
  const auto file = cache.open_file("a");
  while ((*file)->version()->cached_bytes() < kSize) std::this_thread::yield();
  const auto files = cache.chunk_files();
  const fs::path spoilt = *std::max_element(files.begin(), files.end(), [](auto& a, auto& b) {
    return fs::file_size(a) < fs::file_size(b);
  });
  std::fstream(spoilt, std::ios::in | std::ios::out | std::ios::binary).seekp(70'000) << "BAD";
  cache.cache().merge_now((*file)->version());
  while (cache.metric("rangecache_cache_faults_total") < 1) std::this_thread::yield();
  cache.settle();
  EXPECT_FALSE(fs::exists(spoilt));
  EXPECT_EQ(cache.read_all("a", 1), "");
  EXPECT_GT(cache.origin().bytes_sent(), kSize);
}

TEST_F(MergerTest, FaultsOfTheDiskLeaveTheChunksAsTheyWere) {
  for (const Call call : {Call::kOpen, Call::kCopy, Call::kRename, Call::kSetAttribute,
                          Call::kReadAt, Call::kWrite}) {
    SCOPED_TRACE(static_cast<int>(call));
    harness_.reset();
    fs::remove_all(directory_);
    CacheHarness& cache = open(256 * kMiB, std::chrono::hours(1));
    EXPECT_EQ(cache.read_all("a", 1), "");
    const auto file = cache.open_file("a");
    while ((*file)->version()->cached_bytes() < kSize) std::this_thread::yield();
    cache.settle();
    cache.settle();  // and the flush that came of it
    const std::size_t before = cache.chunk_files().size();
    files_.fail(call, EIO, 1, FaultyFileSystem::kAlways);
    cache.cache().merge_now((*file)->version());
    while (cache.metric("rangecache_cache_faults_total") < 1) std::this_thread::yield();
    files_.heal();
    cache.settle();
    EXPECT_EQ(cache.chunk_files().size(), before);
    EXPECT_EQ(cache.temporary_files(), 0u);
    EXPECT_EQ(cache.read_all("a", 1), "");
    EXPECT_EQ(cache.origin().bytes_sent(), kSize);
    EXPECT_TRUE(cache.disk_within(UINT64_MAX));
  }
}

TEST_F(MergerTest, NothingIsEvictedToMakeRoomForAMerge) {
  CacheHarness& cache = open(16 * kMiB);
  EXPECT_EQ(cache.read_all("a", 1), "");
  cache.settle();
  EXPECT_EQ(cache.read_all("a", 1), "");
  EXPECT_EQ(cache.origin().bytes_sent(), kSize);
  EXPECT_EQ(cache.metric("rangecache_evicted_chunks_total"), 0);
  EXPECT_TRUE(cache.disk_within(16 * kMiB));
}

}  // namespace
}  // namespace rangecache::cache
