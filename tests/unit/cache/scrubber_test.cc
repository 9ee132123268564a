#include "cache/scrubber.h"

#include "base/log.h"
#include "tests/support/faulty_file_system.h"
#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/store_fixture.h"

namespace rangecache::cache {
namespace {

namespace fs = std::filesystem;
using Call = FaultyFileSystem::Call;

class ScrubberTest : public TempDirectoryTest {
 protected:
  static constexpr std::uint64_t kSize = kMiB + 200'777;
  static constexpr int kObjects = 5;

  ScrubberTest() { set_log_level(LogLevel::kOff); }

  CacheHarness& open(Scrubber::Options scrubbing) {
    CacheOptions options;
    options.directory = directory_;
    options.size_bytes = 256 * kMiB;
    options.memory_bytes = 64 * kMiB;
    options.merge_bytes_per_second = 0;
    options.scrubbing = scrubbing;
    harness_ = std::make_unique<CacheHarness>(std::move(options), files_);
    const auto opened = harness_->open([](FakeOrigin& origin) {
      for (int i = 0; i < kObjects; ++i) origin.put(key(i), {.size = kSize, .lifetime_s = 3600});
    });
    EXPECT_TRUE(opened) << opened.error().message();
    for (int i = 0; i < kObjects; ++i) {
      const auto file = harness_->open_file(key(i));
      EXPECT_EQ(CacheHarness::read(**file, {0, kSize}, 1), "");
      while ((*file)->version()->cached_bytes() < kSize) std::this_thread::yield();
    }
    return *harness_;
  }
  static std::string key(int i) { return "object-" + std::to_string(i); }
  static void flip_bit_in(const fs::path& path) {
    std::string text = read_text(path);
    text[text.size() / 2] = static_cast<char>(text[text.size() / 2] ^ 4);
    std::fstream(path, std::ios::in | std::ios::out | std::ios::binary) << text;
  }
  static Result<VerifyPart> step(CacheHarness& cache, bool repair, std::string cursor,
                                 Scrubber::Wanted wanted) {
    std::promise<Result<VerifyPart>> promise;
    cache.cache().scrubber().verify(
        std::move(wanted), repair, std::move(cursor),
        [&](Result<VerifyPart> part) { promise.set_value(std::move(part)); });
    return promise.get_future().get();
  }
  static VerifyPart verify(CacheHarness& cache, bool repair) {
    VerifyPart sum;
    do {
      auto part = step(cache, repair, sum.next, [](const Version&) { return true; });
      EXPECT_TRUE(part);
      sum.chunks += part->chunks;
      sum.bytes += part->bytes;
      sum.total_bytes = part->total_bytes;
      sum.next = part->next;
      for (auto& bad : part->bad) sum.bad.push_back(std::move(bad));
    } while (!sum.next.empty());
    return sum;
  }

  FaultyFileSystem files_{posix_file_system()};
  std::unique_ptr<CacheHarness> harness_;
};

TEST_F(ScrubberTest, VerifiesEveryChunkOnceAndFindsNothingWhereNothingIs) {
  CacheHarness& cache = open({.bytes_per_second = 0});
  const VerifyPart sum = verify(cache, false);
  EXPECT_EQ(sum.bytes, kObjects * kSize);
  EXPECT_EQ(sum.total_bytes, kObjects * kSize);
  EXPECT_EQ(sum.chunks, cache.chunk_files().size());
  EXPECT_TRUE(sum.bad.empty());
}

TEST_F(ScrubberTest, ABadChunkIsNamedDroppedAndFetchedAgainByItsNextReader) {
  CacheHarness& cache = open({.bytes_per_second = 0});
  const fs::path spoilt = cache.chunk_files().front();
  flip_bit_in(spoilt);
  const VerifyPart sum = verify(cache, false);
  ASSERT_EQ(sum.bad.size(), 1u);
  EXPECT_FALSE(sum.bad[0].repaired);
  EXPECT_EQ(sum.bad[0].url.rfind("http://fake/object-", 0), 0u);
  cache.settle();
  EXPECT_FALSE(fs::exists(spoilt));
  EXPECT_TRUE(verify(cache, false).bad.empty());
  for (int i = 0; i < kObjects; ++i) EXPECT_EQ(cache.read_all(key(i), 1), "");
  EXPECT_EQ(cache.origin().bytes_sent(), kObjects * kSize + sum.bad[0].range.size());
}

TEST_F(ScrubberTest, RepairFetchesBeforeItAnswers) {
  CacheHarness& cache = open({.bytes_per_second = 0});
  flip_bit_in(cache.chunk_files().front());
  fs::remove(cache.chunk_files().back());
  const VerifyPart sum = verify(cache, true);
  ASSERT_EQ(sum.bad.size(), 2u);
  for (const BadChunk& bad : sum.bad) EXPECT_TRUE(bad.repaired);
  const auto sent = cache.origin().bytes_sent();
  EXPECT_GT(sent, kObjects * kSize);
  for (int i = 0; i < kObjects; ++i) EXPECT_EQ(cache.read_all(key(i), 1), "");
  EXPECT_EQ(cache.origin().bytes_sent(), sent) << "all of it is here again";
}

TEST_F(ScrubberTest, OnlyWhatIsWantedIsVerified) {
  CacheHarness& cache = open({.bytes_per_second = 0});
  const auto part =
      step(cache, false, "", [](const Version& version) { return version.key() == key(3); });
  ASSERT_TRUE(part);
  EXPECT_EQ(part->bytes, kSize);
  EXPECT_EQ(part->total_bytes, kSize);
}

TEST_F(ScrubberTest, ACursorThatItNeverGaveIsRefused) {
  CacheHarness& cache = open({.bytes_per_second = 0});
  for (const char* cursor : {"x", "0000", "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz"}) {
    const auto part = step(cache, false, cursor, [](const Version&) { return true; });
    ASSERT_FALSE(part);
    EXPECT_EQ(part.error().code, ErrorCode::kInvalidArgument);
  }
}

TEST_F(ScrubberTest, TheBackgroundFindsDamageByItself) {
  CacheHarness& cache = open(
      {.bytes_per_second = std::uint64_t{1} << 40, .round_interval = std::chrono::milliseconds(1)});
  const fs::path spoilt = cache.chunk_files().front();
  flip_bit_in(spoilt);
  while (fs::exists(spoilt)) std::this_thread::yield();
  cache.settle();
  EXPECT_EQ(cache.metric("rangecache_corrupt_chunks_total"), 1);
  EXPECT_GE(cache.metric("rangecache_scrub_rounds_total"), 0);
  for (int i = 0; i < kObjects; ++i) EXPECT_EQ(cache.read_all(key(i), 1), "");
}

TEST_F(ScrubberTest, ADiskThatFailsIsNotTakenForBadBytes) {
  CacheHarness& cache = open({.bytes_per_second = 0});
  files_.fail(Call::kReadAt, EIO, 1, FaultyFileSystem::kAlways);
  EXPECT_TRUE(verify(cache, false).bad.empty());
  files_.heal();
  EXPECT_GE(cache.metric("rangecache_cache_faults_total"), 1);
  EXPECT_EQ(verify(cache, false).bytes, kObjects * kSize);
}

TEST_F(ScrubberTest, AtTheSlowestRateItStopsAtOnce) {
  CacheHarness& cache = open({.bytes_per_second = 1});
  cache.close();  // would wait for weeks
}

}  // namespace
}  // namespace rangecache::cache
