#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cache/cache.h"
#include "tests/unit/cache/fake_origin.h"

namespace rangecache::cache {

/// Options of a cache that does nothing but what a test asks for. On a slow machine the background
/// would take faults that are meant for others, and change which files there are.
inline CacheOptions quiet_options() {
  CacheOptions options;
  options.merge_bytes_per_second = 0;
  options.scrubbing.bytes_per_second = 0;
  return options;
}

/// A cache over a FakeOrigin, opened and closed as the daemon does it.
class CacheHarness {
 public:
  explicit CacheHarness(CacheOptions options, FileSystem& files = posix_file_system())
      : options_(std::move(options)), files_(files) {}
  ~CacheHarness() { close(); }

  /// Each run has an origin of its own; `fill` gives it its objects.
  template <typename Fill>
  Result<void> open(Fill fill) {
    close();
    origin_ = std::make_shared<FakeOrigin>();
    fill(*origin_);
    metrics_ = std::make_unique<Metrics>();
    RC_ASSIGN(cache_, Cache::open(
                          options_,
                          [this](const std::string&) -> Result<std::shared_ptr<Origin>> {
                            return std::shared_ptr<Origin>(origin_);
                          },
                          files_, clock_, *metrics_));
    return {};
  }
  /// Waits until the walk over files of an unclean stop is through.
  void finish_walk() {
    while (metric("rangecache_walking") != 0) std::this_thread::yield();
  }
  void close() {
    if (cache_) {
      origin_->stop();
      cache_->stop();
      cache_.reset();
    }
    origin_.reset();
  }

  Result<SnapshotPtr> open_file(const std::string& key) {
    auto promise = std::make_shared<std::promise<Result<SnapshotPtr>>>();
    cache_->catalog().open({origin_, key}, [promise](Result<SnapshotPtr> snapshot) {
      promise->set_value(std::move(snapshot));
    });
    return promise->get_future().get();
  }

  /// Reads and compares; empty if every byte is right, else what is wrong.
  static std::string read(Snapshot& file, ByteRange range, int version) {
    auto promise = std::make_shared<std::promise<Result<Slices>>>();
    const ReadTicket ticket = file.read(
        range, [promise](Result<Slices> slices) { promise->set_value(std::move(slices)); });
    const Result<Slices> slices = promise->get_future().get();
    if (!slices) return "read failed: " + slices.error().message();
    std::uint64_t at = range.begin;
    std::vector<std::byte> buffer;
    for (const Slice& slice : *slices) {
      buffer.resize(slice.length);
      if (slice.fd < 0) {
        std::memcpy(buffer.data(), slice.data, slice.length);
      } else if (::pread(slice.fd, buffer.data(), slice.length, static_cast<off_t>(slice.offset)) !=
                 static_cast<ssize_t>(slice.length)) {
        return "short read of a chunk file at " + std::to_string(at);
      }
      for (const std::byte byte : buffer) {
        if (byte != FakeOrigin::content(version, at)) return "wrong byte at " + std::to_string(at);
        ++at;
      }
    }
    const std::uint64_t end = std::min(range.end, file.size());
    return at == end ? "" : "ends at " + std::to_string(at) + " instead of " + std::to_string(end);
  }
  /// Opens `key` and reads it whole, in parts.
  std::string read_all(const std::string& key, int version, std::uint64_t part = 1 << 20) {
    const auto file = open_file(key);
    if (!file) return "open failed: " + file.error().message();
    for (std::uint64_t at = 0; at < (*file)->size(); at += part) {
      if (auto wrong = read(**file, {at, std::min(at + part, (*file)->size())}, version);
          !wrong.empty())
        return wrong;
    }
    return "";
  }
  /// Returns when all that was handed to the store thread before has been dealt with.
  void settle() {
    std::promise<void> settled;
    cache_->evict([](const Version&) { return false; },
                  [&](Cache::Evicted) { settled.set_value(); });
    settled.get_future().wait();
  }
  /// Returns when all that was fetched is in files, or was left out. No file may be open.
  void finish_writes() const {
    // In this order: a flight has handed over what it brought when it counts no more.
    while (metric("rangecache_flights") != 0 || metric("rangecache_unwritten_bytes") != 0)
      std::this_thread::yield();
  }
  double metric(const std::string& name) const {
    for (const auto& sample : metrics_->samples())
      if (sample.name == name) return sample.value;
    return -1;
  }
  /// What the directory takes on disk, as du counts.
  std::uint64_t disk_usage() const {
    std::uint64_t used = 0;
    std::error_code error;
    for (std::filesystem::recursive_directory_iterator it(options_.directory, error), end;
         it != end && !error; it.increment(error)) {
      struct stat status {};
      if (::lstat(it->path().c_str(), &status) == 0)
        used += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    return used;
  }
  /// Whether the directory takes no more than `limit`, and no more than the ledger says. A walk may
  /// meet a file twice while it is renamed, so it is asked again before the answer is no.
  bool disk_within(std::uint64_t limit) const {
    for (int i = 0; i < 100; ++i) {
      const std::uint64_t used = disk_usage();
      if (used <= limit && used <= cache_->disk_used()) return true;
      std::this_thread::yield();
    }
    return false;
  }
  std::vector<std::filesystem::path> chunk_files() const {
    for (;;) {
      std::vector<std::filesystem::path> files;
      std::error_code error;
      for (std::filesystem::recursive_directory_iterator
               it(std::filesystem::path(options_.directory) / "objects", error),
           end;
           !error && it != end; it.increment(error)) {
        std::error_code gone;
        if (it->is_regular_file(gone) && it->path().filename() != "meta")
          files.push_back(it->path());
      }
      if (!error) return files;  // else a directory went while it was read
    }
  }
  std::size_t temporary_files() const {
    return static_cast<std::size_t>(std::distance(
        std::filesystem::directory_iterator(std::filesystem::path(options_.directory) / "tmp"),
        {}));
  }

  CacheOptions& options() { return options_; }  ///< for the next run
  FakeOrigin& origin() { return *origin_; }
  std::shared_ptr<Origin> shared_origin() { return origin_; }
  Cache& cache() { return *cache_; }
  ManualClock& clock() { return clock_; }

 private:
  CacheOptions options_;
  FileSystem& files_;
  ManualClock clock_;
  std::shared_ptr<FakeOrigin> origin_;
  std::unique_ptr<Metrics> metrics_;
  std::unique_ptr<Cache> cache_;
};

}  // namespace rangecache::cache
