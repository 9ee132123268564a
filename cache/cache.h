#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/file_system.h"
#include "base/metrics.h"
#include "base/origin.h"
#include "cache/background_sync.h"
#include "cache/buffer_pool.h"
#include "cache/catalog.h"
#include "cache/chunk_store.h"
#include "cache/chunk_writer.h"
#include "cache/directory_read_ahead.h"
#include "cache/disk_breaker.h"
#include "cache/eviction_groups.h"
#include "cache/freshness_policy.h"
#include "cache/ledger.h"
#include "cache/loader.h"
#include "cache/manifest.h"
#include "cache/merger.h"
#include "cache/names_file.h"
#include "cache/open_chunks.h"
#include "cache/pins.h"
#include "cache/scrubber.h"
#include "cache/storer.h"
#include "cache/stray_walk.h"
#include "cache/version.h"

namespace rangecache::cache {

enum class EvictionKind { kS3Fifo, kLru };

struct CacheOptions {
  std::string directory;
  std::uint64_t size_bytes = 0;            ///< hard limit of all that is in the directory
  std::uint64_t memory_bytes = 256 << 20;  ///< for object bytes on their way
  std::size_t max_open_chunks = 1024;      ///< descriptors kept for readers
  FreshnessPolicies freshness;
  WriterKind writer = WriterKind::kAuto;
  EvictionKind eviction = EvictionKind::kS3Fifo;
  Durability durability = Durability::kNone;
  std::vector<Quota> quotas;                        ///< no two of the same prefix
  double max_pinned_share = 0.5;                    ///< of the limit
  bool admit_second_use = false;                    ///< keep only what is asked for again
  std::uint64_t merge_bytes_per_second = 64 << 20;  ///< 0: chunks are not merged
  std::uint64_t merge_burst_bytes = 1 << 30;        ///< see Merger::Options
  std::chrono::milliseconds merge_settle_time{1000};
  Scrubber::Options scrubbing;
  std::uint64_t keep_free_bytes = 0;  ///< free disk space that is left to others; 0: no floor
  PerOrigin<std::uint64_t> fetch_whole_bytes;  ///< see ReadAhead::Options::whole_size
  std::int64_t look_after_ms = 1'000;          ///< how often the disk is looked after, in real time
};

/// The smallest limits that let the cache do its work.
inline constexpr std::uint64_t kMinSizeBytes = 16 << 20;
inline constexpr std::uint64_t kMinMemoryBytes = 32 << 20;

/// The cache as its daemon sees it: composes the parts of this folder over one cache directory,
/// and brings back what an earlier run has left there. Thread-safe once open.
class Cache {
 public:
  static Result<std::unique_ptr<Cache>> open(CacheOptions options, FindOrigin find_origin,
                                             FileSystem& files, const Clock& clock,
                                             Metrics& metrics);
  ~Cache();

  Catalog& catalog() { return *catalog_; }
  Scrubber& scrubber() { return *scrubber_; }
  Pins& pins() { return *pins_; }
  const CacheOptions& options() const { return options_; }
  const Clock& clock() const { return clock_; }
  std::uint64_t disk_used() const { return ledger_->used(); }
  std::vector<EvictionGroups::Use> quotas() const { return groups_->quotas(); }

  DirectoryReadAhead& directory_read_ahead() { return *directory_read_ahead_; }
  /// How far ahead may be read, of objects of `origin`, without crowding out what is wanted now.
  ReadAhead::Options read_ahead_options(const Origin& origin) const;

  using Evicted = Storer::Evicted;
  /// Evicts all chunks of the versions that `wanted` picks; calls back on the store thread.
  void evict(const std::function<bool(const Version&)>& wanted, UniqueFunction<void(Evicted)> done);

  /// Looks at a version's chunks now, whether or not one was just added.
  void merge_now(const VersionPtr& version);

  /// Saves and closes. No read may be under way, and the origins must be stopped: their last
  /// callbacks come before. Idempotent.
  void stop();

 private:
  std::uint64_t max_read_ahead() const;
  Cache(CacheOptions options, const Clock& clock, Metrics& metrics);
  Result<void> load(const FindOrigin& find_origin, FileSystem& files);
  void stored(const VersionPtr& version);
  void expect_strays(const LoadReport& report, const Loader& loader);

  const CacheOptions options_;
  const Clock& clock_;
  Metrics& metrics_;
  std::shared_ptr<BufferPool> pool_;
  std::unique_ptr<Ledger> ledger_;
  std::unique_ptr<ChunkStore> store_;
  std::unique_ptr<Manifest> manifest_;
  std::unique_ptr<BackgroundSync> sync_;
  std::unique_ptr<DiskBreaker> breaker_;
  std::unique_ptr<Pins> pins_;
  std::unique_ptr<EvictionGroups> groups_;
  std::unique_ptr<OpenChunks> open_chunks_;
  std::unique_ptr<Storer> storer_;
  std::unique_ptr<VersionContext> context_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<DirectoryReadAhead> directory_read_ahead_;
  std::unique_ptr<ChunkWriter> writer_;
  std::unique_ptr<NamesFile> names_;
  std::unique_ptr<StrayWalk> walk_;
  std::unique_ptr<Merger> merger_;
  std::unique_ptr<Scrubber> scrubber_;
  bool stopped_ = false;
};

}  // namespace rangecache::cache
