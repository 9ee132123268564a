#pragma once

#include "base/log.h"
#include "tests/support/faulty_file_system.h"
#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/store_fixture.h"

namespace rangecache::cache {

/// A cache that looks after its disk all the time, on a clock that stands still until a test
/// turns it.
class DiskTest : public TempDirectoryTest {
 protected:
  static constexpr std::uint64_t kSmall = kMiB + 200'777;
  static constexpr std::uint64_t kLarge = 24 * kMiB;
  static constexpr std::uint64_t kHuge = 80 * kMiB;

  DiskTest() : files_(posix_file_system()) { set_log_level(LogLevel::kOff); }

  CacheHarness& make(std::uint64_t limit = 256 * kMiB, std::uint64_t keep_free = 0) {
    CacheOptions options = quiet_options();
    options.directory = directory_;
    options.size_bytes = limit;
    options.memory_bytes = 64 * kMiB;
    options.writer = WriterKind::kThreads;
    options.keep_free_bytes = keep_free;
    options.look_after_ms = 1;
    harness_ = std::make_unique<CacheHarness>(std::move(options), files_);
    EXPECT_TRUE(harness_->open(objects));
    return *harness_;
  }
  static void objects(FakeOrigin& origin) {
    for (const char* key : {"a", "b", "c"}) origin.put(key, {.size = kSmall, .lifetime_s = 36'000});
    origin.put("large", {.size = kLarge, .lifetime_s = 36'000});
    origin.put("huge", {.size = kHuge, .lifetime_s = 36'000});
  }
  CacheHarness& cache() { return *harness_; }
  bool breaker_open() const { return harness_->metric("rangecache_disk_breaker_open") == 1; }
  std::uint64_t cached(const std::string& key) {
    const auto file = harness_->open_file(key);
    EXPECT_TRUE(file);
    return file ? (*file)->version()->cached_bytes() : 0;
  }
  /// Returns when `condition` holds; ctest's time limit ends a vain wait.
  template <typename Condition>
  static void wait_for(Condition condition) {
    while (!condition()) std::this_thread::yield();
  }
  /// The same while time passes.
  template <typename Condition>
  void turn_until(Condition condition) {
    while (!condition()) {
      harness_->clock().advance_s(1);
      std::this_thread::yield();
    }
  }
  void read_and_keep(const std::string& key) {
    EXPECT_EQ(harness_->read_all(key, 1), "");
    const auto file = harness_->open_file(key);
    ASSERT_TRUE(file);
    wait_for([&] { return (*file)->version()->cached_bytes() == (*file)->size(); });
  }

  FaultyFileSystem files_;
  std::unique_ptr<CacheHarness> harness_;
};

}  // namespace rangecache::cache
