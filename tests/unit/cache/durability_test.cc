#include "base/log.h"
#include "tests/support/faulty_file_system.h"
#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/store_fixture.h"

namespace rangecache::cache {
namespace {

namespace fs = std::filesystem;
using Call = FaultyFileSystem::Call;

/// What each durability setting brings to the disk, and when. (What a power cut then leaves is
/// played by tests/crash/power_loss_test.cc.)
class DurabilityTest : public TempDirectoryTest {
 protected:
  static constexpr std::uint64_t kSize = 3 * kMiB + 777;

  CacheHarness& open(Durability durability) {
    CacheOptions options = quiet_options();
    options.directory = directory_;
    options.size_bytes = 64 * kMiB;
    options.memory_bytes = 64 * kMiB;
    options.writer = WriterKind::kThreads;
    options.durability = durability;
    harness_ = std::make_unique<CacheHarness>(std::move(options), files_);
    const auto opened = harness_->open(
        [](FakeOrigin& origin) { origin.put("a", {.size = kSize, .lifetime_s = 3600}); });
    EXPECT_TRUE(opened) << opened.error().message();
    return *harness_;
  }
  /// Reads "a" and waits until all of it is stored.
  void fill(CacheHarness& cache) {
    const auto file = cache.open_file("a");
    ASSERT_TRUE(file);
    EXPECT_EQ(CacheHarness::read(**file, {0, kSize}, 1), "");
    while ((*file)->version()->cached_bytes() < kSize) std::this_thread::yield();
    cache.settle();
  }

  FaultyFileSystem files_{posix_file_system()};
  std::unique_ptr<CacheHarness> harness_;
};

TEST_F(DurabilityTest, NoneSyncsNothingButACleanStop) {
  CacheHarness& cache = open(Durability::kNone);
  const int of_format = files_.calls(Call::kSync);  // once in the cache's life
  fill(cache);
  EXPECT_EQ(files_.calls(Call::kSync), of_format);
  EXPECT_EQ(files_.calls(Call::kSyncAll), 0);
  cache.close();
  EXPECT_EQ(files_.calls(Call::kSyncAll), 1) << "before the mark that says that all is there";
  EXPECT_EQ(files_.calls(Call::kSync), of_format + 1) << "the journal, with the mark";
}

TEST_F(DurabilityTest, AStartAfterACleanStopIsOnTheDiskBeforeAnythingElse) {
  fill(open(Durability::kNone));
  harness_->close();
  const int before = files_.calls(Call::kSync);
  open(Durability::kNone);
  EXPECT_EQ(files_.calls(Call::kSync), before + 2)
      << "or a power cut could leave the old mark, and chunks that came after it";
}

TEST_F(DurabilityTest, AStartThatCannotBeSyncedLosesNothing) {
  fill(open(Durability::kNone));
  harness_->close();
  files_.fail(Call::kSync, EIO, 1, 1, "/manifest/journal");
  for (int start = 0; start < 2; ++start) {
    CacheHarness& cache = open(Durability::kNone);
    EXPECT_EQ(files_.failures(), 1);
    EXPECT_EQ(cache.read_all("a", 1), "");
    EXPECT_EQ(cache.origin().bytes_sent(), 0u);
  }
}

TEST_F(DurabilityTest, StrictSyncsEveryChunkBeforeItsNameAndTheJournalAfter) {
  // What was synced at the moment of each rename of a chunk.
  std::vector<int> synced;
  files_.before_rename([&](const std::string&, const std::string& to) {
    if (to.find("/objects/") != std::string::npos && to.find("meta") == std::string::npos)
      synced.push_back(files_.calls(Call::kSync));
  });
  CacheHarness& cache = open(Durability::kStrict);
  fill(cache);
  ASSERT_FALSE(synced.empty());
  const int chunks = static_cast<int>(synced.size());
  // meta and its three directories; each chunk and its directory; the journal at least once.
  EXPECT_GE(synced.front(), 5);
  EXPECT_GE(files_.calls(Call::kSync), 4 + 2 * chunks + 1);
}

TEST_F(DurabilityTest, AStrictChunkThatCannotBeSyncedIsNotKeptAndHarmsNoReader) {
  CacheHarness& cache = open(Durability::kStrict);
  files_.fail(Call::kSync, EIO, 2, 2, "/tmp/");  // the first is that of meta
  EXPECT_EQ(cache.read_all("a", 1), "");
  cache.finish_writes();
  fill(cache);
  EXPECT_EQ(files_.failures(), 2);
  EXPECT_GT(cache.origin().bytes_sent(), kSize) << "what could not be synced was fetched again";
  EXPECT_EQ(cache.temporary_files(), 0u);
}

TEST_F(DurabilityTest, BatchSyncsInTheBackground) {
  CacheHarness& cache = open(Durability::kBatch);
  const int before = files_.calls(Call::kSync);
  fill(cache);
  EXPECT_EQ(files_.calls(Call::kSync), before) << "nobody waits for it";
  while (cache.metric("rangecache_unsynced_bytes") != 0) std::this_thread::yield();
  EXPECT_EQ(files_.calls(Call::kSyncAll), 1);
}

TEST_F(DurabilityTest, AFailedSyncLeavesNoCleanMark) {
  CacheHarness& cache = open(Durability::kNone);
  fill(cache);
  files_.fail(Call::kSyncAll, EIO);
  cache.close();
  struct : Manifest::Visitor {
    void on_version(VersionRecord&&) override {}
    void on_version_removed(const VersionId&) override {}
    void on_chunk(ChunkRecord&&) override {}
    void on_chunk_removed(const VersionId&, ByteRange) override {}
    void on_reset() override {}
  } ignore;
  Manifest manifest(files_, directory_.string(), {});
  const auto report = manifest.open(ignore);
  ASSERT_TRUE(report);
  EXPECT_FALSE(report->clean_stop);
}

}  // namespace
}  // namespace rangecache::cache
