#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "base/log.h"
#include "tests/support/power_cut_disk.h"
#include "tests/unit/cache/cache_harness.h"

namespace rangecache::cache {
namespace {

constexpr const char* kDirectory = "/cache";
constexpr int kObjects = 24;

std::string key(int i) { return "object-" + std::to_string(i); }
std::uint64_t size_of(int i) { return 4096 + static_cast<std::uint64_t>(i * i) * 577; }

/// A power cut at any moment of a cache's life, whatever it leaves of what was not synced: the next
/// start works, no byte is wrong, no read fails, the limit holds.
class PowerLoss : public testing::TestWithParam<Durability> {
 protected:
  PowerLoss() { set_log_level(LogLevel::kOff); }

  CacheOptions options() const {
    CacheOptions options;
    options.directory = kDirectory;
    options.size_bytes = 4 << 20;
    options.memory_bytes = 64 << 20;
    options.writer = WriterKind::kThreads;
    options.durability = GetParam();
    options.merge_bytes_per_second = std::uint64_t{1} << 40;
    options.merge_settle_time = {};
    return options;
  }
  /// No two objects or versions have the same bytes.
  void fill(FakeOrigin& origin) const {
    for (int i = 0; i < kObjects; ++i)
      origin.put(key(i), {.size = size_of(i), .version = version(i), .lifetime_s = 0});
  }
  int version(int i) const { return i * 1000 + versions_[static_cast<std::size_t>(i)]; }

  /// Reads, evictions, changes, merges, checkpoints; a clean stop and a start in the middle.
  void live(PowerCutDisk& disk, std::uint32_t seed) {
    std::mt19937 random(seed);
    CacheHarness cache(options(), disk);
    for (int run = 0; run < 3; ++run) {
      ASSERT_TRUE(cache.open([this](FakeOrigin& origin) { fill(origin); }));
      for (int step = 0; step < 120; ++step) {
        const int i = static_cast<int>(random() % kObjects);
        if (random() % 12 == 0) {
          ++versions_[static_cast<std::size_t>(i)];
          fill(cache.origin());
        }
        const auto file = cache.open_file(key(i));
        ASSERT_TRUE(file);
        const std::uint64_t begin = random() % size_of(i);
        const std::uint64_t end = std::min(size_of(i), begin + 1 + random() % size_of(i));
        ASSERT_EQ(CacheHarness::read(**file, {begin, end}, version(i)), "");
      }
      cache.settle();
      changes_.push_back({disk.history(), versions_});
      cache.close();
      clean_stops_.push_back(disk.history());
    }
  }

  /// Bytes of the current versions that complete chunk files hold.
  std::uint64_t bytes_kept(const PowerCutDisk& disk) const {
    std::set<std::string> current;
    for (int i = 0; i < kObjects; ++i) {
      const Validator validator{Validator::Kind::kEtag, "\"v" + std::to_string(version(i)) + "\""};
      current.insert(VersionId::of("http://fake", key(i), validator, size_of(i)).hex());
    }
    std::map<std::string, std::map<std::uint64_t, std::uint64_t>> chunks;
    for (const auto& [path, size] : disk.files_below(std::string(kDirectory) + "/objects")) {
      const std::string name = path.substr(path.rfind('/') + 1);
      const std::string id = path.substr(path.rfind('/') - 32, 32);
      if (name == "meta" || !current.contains(id)) continue;
      const std::uint64_t begin = std::stoull(name.substr(0, 16), nullptr, 16);
      auto& end = chunks[id][begin];
      end = std::max<std::uint64_t>(end, std::stoull(name.substr(17), nullptr, 16));
    }
    std::uint64_t bytes = 0;
    for (const auto& [id, ranges] : chunks) {
      std::uint64_t covered = 0;
      for (const auto& [begin, end] : ranges) {
        bytes += end > covered ? end - std::max(begin, covered) : 0;
        covered = std::max(covered, end);
      }
    }
    return bytes;
  }
  static std::uint64_t disk_bytes(const PowerCutDisk& disk) {
    std::uint64_t bytes = 0;
    for (const auto& [path, size] : disk.files_below(kDirectory))
      bytes += (size + 4095) / 4096 * 4096;
    return bytes;
  }

  struct After {
    std::uint64_t kept = 0;     ///< bytes of current versions that stood on the disk
    std::uint64_t fetched = 0;  ///< bytes that the origin sent to readers of everything
  };
  void check(PowerCutDisk& disk, After& after, std::uint64_t limit = 4 << 20) {
    after.kept = bytes_kept(disk);
    CacheOptions quiet = options();
    quiet.size_bytes = limit;
    quiet.merge_bytes_per_second = 0;
    CacheHarness cache(quiet, disk);
    const auto opened = cache.open([this](FakeOrigin& origin) { fill(origin); });
    ASSERT_TRUE(opened) << opened.error().message();
    cache.finish_walk();
    cache.settle();
    ASSERT_LE(disk_bytes(disk), quiet.size_bytes);
    for (int i = 0; i < kObjects; ++i) ASSERT_EQ(cache.read_all(key(i), version(i)), "") << key(i);
    cache.settle();
    ASSERT_LE(disk_bytes(disk), quiet.size_bytes);
    after.fetched = cache.origin().bytes_sent();
    // And on from there.
    ASSERT_TRUE(cache.open([this](FakeOrigin& origin) { fill(origin); }));
    for (int i = 0; i < kObjects; i += 5) ASSERT_EQ(cache.read_all(key(i), version(i)), "");
  }
  static std::uint64_t all_bytes() {
    std::uint64_t bytes = 0;
    for (int i = 0; i < kObjects; ++i) bytes += size_of(i);
    return bytes;
  }

  struct Changes {
    std::size_t until = 0;
    std::vector<int> versions;
  };
  std::vector<int> versions_ = std::vector<int>(kObjects, 1);
  std::vector<Changes> changes_;
  std::vector<std::size_t> clean_stops_;
};

TEST_P(PowerLoss, NoCutAtAnyCallMakesAByteWrong) {
  const char* wanted = std::getenv("RANGECACHE_POINTS");
  const int points = wanted ? std::atoi(wanted) : 100;
  const char* given = std::getenv("RANGECACHE_SEED");
  const std::uint32_t seed = given ? static_cast<std::uint32_t>(std::atoll(given)) : 1;
  std::mt19937 random(seed);
  std::uint64_t kept = 0, could = 0;
  std::unique_ptr<PowerCutDisk> disk;
  for (int point = 0; point < points; ++point) {
    if (point % 500 == 0) {  // another life now and then
      versions_.assign(kObjects, 1);
      disk = std::make_unique<PowerCutDisk>();
      live(*disk, random());
      if (HasFatalFailure()) return;
    }
    const std::size_t calls = random() % (disk->history() + 1);
    const auto mode =
        random() % 2 ? PowerCutDisk::Mode::kOrdered : PowerCutDisk::Mode::kPerDirectory;
    const std::uint32_t cut_seed = random();
    SCOPED_TRACE("RANGECACHE_SEED=" + std::to_string(seed) + ", point " + std::to_string(point) +
                 ": cut after call " + std::to_string(calls) + " of " +
                 std::to_string(disk->history()) + ", seed " + std::to_string(cut_seed));
    const auto left = disk->after_cut(calls, mode, cut_seed);
    After after;
    check(*left, after);
    if (HasFatalFailure()) return;
    kept += all_bytes() - std::min(all_bytes(), after.fetched);
    could += after.kept;
  }
  RecordProperty("bytes_on_disk", std::to_string(could));
  RecordProperty("bytes_served_from_it", std::to_string(kept));
  std::printf("%d cuts: files of %.1f MiB of current versions were left, %.1f MiB of them served\n",
              points, static_cast<double>(could) / (1 << 20),
              static_cast<double>(kept) / (1 << 20));
  EXPECT_GT(kept, could / 4) << "a cache that throws everything away would pass, too";
}

TEST_P(PowerLoss, ACleanStopLosesNothing) {
  PowerCutDisk disk;
  live(disk, 7);
  for (const auto mode : {PowerCutDisk::Mode::kOrdered, PowerCutDisk::Mode::kPerDirectory}) {
    // The last stop: the origin has what it has had then.
    const auto left = disk.after_cut(clean_stops_.back(), mode, 11);
    After after;
    check(*left, after, 64 << 20);  // room for all: nothing is evicted before it is read
    EXPECT_GT(after.kept, 0u);
    EXPECT_EQ(after.fetched, all_bytes() - after.kept);
  }
}

/// With strict, what the cache has counted as stored is there after a cut, all of it.
TEST_P(PowerLoss, StrictKeepsWhatWasStored) {
  if (GetParam() != Durability::kStrict) return;
  for (std::uint32_t seed = 0; seed < 10; ++seed) {
    SCOPED_TRACE(seed);
    PowerCutDisk disk;
    CacheHarness cache(options(), disk);
    versions_.assign(kObjects, 1);
    ASSERT_TRUE(cache.open([this](FakeOrigin& origin) { fill(origin); }));
    constexpr int kRead = 8;
    std::uint64_t stored = 0;
    for (int i = 0; i < kRead; ++i) {
      const auto file = cache.open_file(key(i));
      ASSERT_EQ(CacheHarness::read(**file, {0, size_of(i)}, version(i)), "");
      while ((*file)->version()->cached_bytes() < size_of(i)) std::this_thread::yield();
      stored += size_of(i);
    }
    for (int i = 0; i < 3; ++i) cache.settle();  // the journal's flush comes after the store
    const auto left = disk.after_cut(disk.history(), PowerCutDisk::Mode::kPerDirectory, seed);
    EXPECT_EQ(bytes_kept(*left), stored);
    After after;
    check(*left, after, 64 << 20);
    EXPECT_EQ(after.fetched, all_bytes() - stored);
  }
}

INSTANTIATE_TEST_SUITE_P(, PowerLoss,
                         testing::Values(Durability::kNone, Durability::kBatch,
                                         Durability::kStrict),
                         [](const auto& tested) {
                           return tested.param == Durability::kNone    ? "None"
                                  : tested.param == Durability::kBatch ? "Batch"
                                                                       : "Strict";
                         });

}  // namespace
}  // namespace rangecache::cache
