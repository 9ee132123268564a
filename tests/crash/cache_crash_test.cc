#include <fcntl.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <functional>
#include <map>
#include <random>

#include "base/log.h"
#include "tests/support/faulty_file_system.h"
#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/store_fixture.h"

namespace rangecache::cache {
namespace {

namespace fs = std::filesystem;

/// The death of the process at any moment costs neither a right byte nor a complete chunk.
class CacheCrashTest : public TempDirectoryTest {
 protected:
  static constexpr std::uint64_t kSize = 3 * kMiB + 777;

  CacheCrashTest() { set_log_level(LogLevel::kOff); }

  CacheOptions options(std::uint64_t limit, WriterKind writer) const {
    CacheOptions options;
    options.directory = directory_;
    options.size_bytes = limit;
    options.memory_bytes = 32 * kMiB;
    options.writer = writer;
    options.merge_bytes_per_second = 0;
    return options;
  }
  /// ... whose chunks are merged as soon as they are there.
  CacheOptions merging(CacheOptions options) const {
    options.merge_bytes_per_second = std::uint64_t{1} << 40;
    options.merge_settle_time = {};
    return options;
  }
  static void objects(FakeOrigin& origin) {
    for (const char* key : {"a", "b"}) origin.put(key, {.size = kSize, .lifetime_s = 3600});
  }

  /// Runs `work` in a child. True if it came to its end, false if it was killed.
  static bool in_child(const std::function<std::string()>& work) {
    const pid_t child = ::fork();
    if (child == 0) {
      const std::string wrong = work();
      if (!wrong.empty()) ::fprintf(stderr, "%s\n", wrong.c_str());
      ::_exit(wrong.empty() ? 0 : 1);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (WIFEXITED(status)) {
      EXPECT_EQ(WEXITSTATUS(status), 0);
      return true;
    }
    EXPECT_EQ(WTERMSIG(status), SIGKILL);
    return false;
  }

  /// A life of a cache in which everything happens: fill, evict, fill again, stop. Dies at the
  /// `die_at`-th call to the file system (0: does not).
  std::string live(int die_at) const {
    FaultyFileSystem files(posix_file_system());
    files.die_at(die_at);
    CacheHarness cache(merging(options(64 * kMiB, WriterKind::kThreads)), files);
    if (auto opened = cache.open(objects); !opened) return opened.error().message();
    if (auto wrong = cache.read_all("a", 1); !wrong.empty()) return wrong;
    cache.settle();
    // What is evicted while it is merged may be lost or not: here it is one or the other.
    while (cache.metric("rangecache_chunks") != 1) std::this_thread::yield();
    std::promise<void> evicted;
    cache.cache().evict([](const Version& version) { return version.key() == "a"; },
                        [&](Cache::Evicted) { evicted.set_value(); });
    evicted.get_future().wait();
    if (auto wrong = cache.read_all("b", 1); !wrong.empty()) return wrong;
    if (auto wrong = cache.read_all("a", 1); !wrong.empty()) return wrong;
    cache.close();
    return "";
  }

  /// How many bytes of objects the chunk files hold; those that two have, because one was about to
  /// be merged into the other, once.
  std::uint64_t bytes_of_chunks(const CacheHarness& cache) const {
    if (!fs::exists(directory_ / "objects")) return 0;
    std::map<fs::path, std::map<std::uint64_t, std::uint64_t>> ends;  // by version, then begin
    for (const auto& path : cache.chunk_files()) {
      const std::string name = path.filename();
      const std::uint64_t begin = std::stoull(name.substr(0, 16), nullptr, 16);
      auto& end = ends[path.parent_path()][begin];
      end = std::max<std::uint64_t>(end, std::stoull(name.substr(17), nullptr, 16));
    }
    std::uint64_t bytes = 0;
    for (const auto& [version, chunks] : ends) {
      std::uint64_t covered = 0;
      for (const auto& [begin, end] : chunks) {
        if (end <= covered) continue;
        bytes += end - std::max(begin, covered);
        covered = end;
      }
    }
    return bytes;
  }
  /// What must hold after any death: the start works, sweeps, counts all, keeps all, serves right.
  void expect_recovered() {
    CacheHarness cache(options(64 * kMiB, WriterKind::kThreads));
    const std::uint64_t complete = bytes_of_chunks(cache);
    const auto opened = cache.open(objects);
    ASSERT_TRUE(opened) << opened.error().message();
    EXPECT_EQ(cache.temporary_files(), 0u);
    cache.finish_walk();
    cache.settle();
    EXPECT_EQ(bytes_of_chunks(cache), complete) << "a renamed chunk is complete and is kept";
    EXPECT_TRUE(cache.disk_within(UINT64_MAX));
    EXPECT_EQ(cache.read_all("a", 1), "");
    EXPECT_EQ(cache.read_all("b", 1), "");
    EXPECT_LE(cache.origin().bytes_sent(), 2 * kSize - complete);
    cache.settle();
    EXPECT_TRUE(cache.disk_within(UINT64_MAX));
  }
};

TEST_F(CacheCrashTest, DeathAtEachCallToTheFileSystemIsRecoveredFrom) {
  int deaths = 0;
  for (int nth = 1;; ++nth) {
    SCOPED_TRACE("death at call " + std::to_string(nth));
    fs::remove_all(directory_);
    const bool ended = in_child([&] { return live(nth); });
    deaths += ended ? 0 : 1;
    expect_recovered();
    if (ended || HasFailure()) break;
  }
  EXPECT_GT(deaths, 60);
}

TEST_F(CacheCrashTest, DeathAtEachCallOfARecoveryIsRecoveredFromToo) {
  for (const int first : {45, 60, 75}) {
    for (int nth = 1; nth < 70; ++nth) {
      SCOPED_TRACE("deaths at call " + std::to_string(first) + ", then " + std::to_string(nth));
      fs::remove_all(directory_);
      in_child([&] { return live(first); });
      if (in_child([&] {
            FaultyFileSystem files(posix_file_system());
            files.die_at(nth);
            CacheHarness cache(options(64 * kMiB, WriterKind::kThreads), files);
            if (auto opened = cache.open(objects); !opened) return opened.error().message();
            cache.settle();
            ::_exit(0);  // without an orderly stop: only the recovery is of interest here
          })) {
        EXPECT_GT(nth, 10);
        break;
      }
      expect_recovered();
      if (HasFailure()) return;
    }
  }
}

/// Random reads of many objects under eviction, until a SIGKILL from outside.
class RandomDeath : public CacheCrashTest, public testing::WithParamInterface<WriterKind> {
 protected:
  static constexpr int kObjects = 12;
  static constexpr std::uint64_t kLimit = 40 * kMiB;

  std::vector<int> versions_ = std::vector<int>(kObjects, 1);

  static std::string key(int i) { return "object-" + std::to_string(i); }
  void fill(FakeOrigin& origin) const {
    for (int i = 0; i < kObjects; ++i)
      origin.put(key(i), {.size = kSize + i * 500'000u, .version = versions_[i], .lifetime_s = 0});
  }
  /// One byte to `progress` for each read that was right.
  std::string work(unsigned seed, int progress) {
    CacheHarness cache(merging(options(kLimit, GetParam())));
    if (auto opened = cache.open([this](FakeOrigin& origin) { fill(origin); }); !opened)
      return opened.error().message();
    std::vector<std::thread> readers;
    std::atomic<bool> wrong{false};
    for (unsigned t = 0; t < 3; ++t) {
      readers.emplace_back([&, t] {
        std::mt19937 random(seed * 3 + t);
        while (!wrong) {
          const int i = static_cast<int>(random() % kObjects);
          const auto file = cache.open_file(key(i));
          if (!file) {
            ::fprintf(stderr, "%s\n", file.error().message().c_str());
            wrong = true;
            break;
          }
          const std::uint64_t begin = random() % (*file)->size();
          const auto said =
              CacheHarness::read(**file, {begin, begin + random() % kMiB + 1}, versions_[i]);
          if (!said.empty()) {
            ::fprintf(stderr, "%s\n", said.c_str());
            wrong = true;
          }
          if (::write(progress, "r", 1) != 1) break;
        }
      });
    }
    for (auto& reader : readers) reader.join();
    return "a read was wrong";
  }
};

TEST_P(RandomDeath, NoKillAtAnyTimeMakesAByteWrong) {
  const char* wanted = std::getenv("RANGECACHE_CRASH_CYCLES");
  const int cycles = wanted ? std::atoi(wanted) : 40;
  const char* given = std::getenv("RANGECACHE_CRASH_SEED");
  const unsigned seed = given ? static_cast<unsigned>(std::atoi(given)) : std::random_device{}();
  SCOPED_TRACE("RANGECACHE_CRASH_SEED=" + std::to_string(seed));
  std::mt19937 random(seed);
  if (GetParam() == WriterKind::kIoUring) {
    auto store = ChunkStore::open(posix_file_system(), directory_);
    ASSERT_TRUE(store);
    if (auto writer = make_chunk_writer(**store, posix_file_system(), GetParam()); !writer)
      GTEST_SKIP() << writer.error().message();
  }
  std::uint64_t kept = 0;
  for (int cycle = 0; cycle < cycles; ++cycle) {
    SCOPED_TRACE("cycle " + std::to_string(cycle));
    versions_[random() % kObjects] += 1;
    int progress[2];
    ASSERT_EQ(::pipe2(progress, O_CLOEXEC), 0);
    const unsigned child_seed = random();
    const pid_t child = ::fork();
    if (child == 0) {
      ::close(progress[0]);
      ::fprintf(stderr, "%s\n", work(child_seed, progress[1]).c_str());
      ::_exit(1);
    }
    ::close(progress[1]);
    // Dies after so many reads, now and then during its start.
    char byte = 0;
    const unsigned reads = random() % 8 == 0 ? 0 : random() % 120;
    bool alive = true;
    for (unsigned i = 0; i < reads && alive; ++i) alive = ::read(progress[0], &byte, 1) == 1;
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ::close(progress[0]);
    ASSERT_TRUE(alive && WIFSIGNALED(status)) << "the child found something wrong";

    CacheHarness cache(options(kLimit, GetParam()));
    const auto opened = cache.open([this](FakeOrigin& origin) { fill(origin); });
    ASSERT_TRUE(opened) << opened.error().message();
    cache.finish_walk();
    cache.settle();
    ASSERT_EQ(cache.temporary_files(), 0u);
    ASSERT_TRUE(cache.disk_within(UINT64_MAX));
    ASSERT_TRUE(cache.disk_within(kLimit));
    const std::uint64_t on_disk = bytes_of_chunks(cache);
    kept += on_disk;
    if (cycle % 4 != 3) continue;  // mostly only a start and a stop: what is there grows old
    for (int i = 0; i < kObjects; ++i) ASSERT_EQ(cache.read_all(key(i), versions_[i]), "");
    cache.settle();
    ASSERT_TRUE(cache.disk_within(UINT64_MAX));
    ASSERT_TRUE(cache.disk_within(kLimit));
  }
  EXPECT_GT(kept, 0u);
}

INSTANTIATE_TEST_SUITE_P(Both, RandomDeath,
                         testing::Values(WriterKind::kIoUring, WriterKind::kThreads),
                         [](const auto& kind) {
                           return kind.param == WriterKind::kIoUring ? "IoUring" : "Threads";
                         });

}  // namespace
}  // namespace rangecache::cache
