#include "cache/cache.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace rangecache::cache {
namespace {

/// objects/, tmp/, manifest/, the 256 directories of two hex digits, format and lock.
constexpr std::uint64_t kFixedCharge = (256 + 8) * 4096;

VersionContext make_context(std::shared_ptr<BufferPool> pool, OpenChunks& open_chunks,
                            Storer& storer, const Clock& clock, Metrics& metrics) {
  return VersionContext{
      .pool = std::move(pool),
      .open_chunks = open_chunks,
      .storer = storer,
      .clock = clock,
      .read_requests = metrics.counter("rangecache_read_requests_total", "Reads asked for"),
      .read_bytes = metrics.counter("rangecache_read_bytes_total", "Bytes given to readers"),
      .hit_bytes = metrics.counter("rangecache_hit_bytes_total", "Bytes read that were on disk"),
      .memory_hit_bytes = metrics.counter("rangecache_memory_hit_bytes_total",
                                          "Bytes read that had just arrived for another read"),
      .miss_bytes = metrics.counter("rangecache_miss_bytes_total",
                                    "Bytes read that had to be asked of the origin"),
      .coalesced_bytes = metrics.counter("rangecache_coalesced_bytes_total",
                                         "Bytes read that were under way for another read"),
      .stale_reads = metrics.counter("rangecache_stale_reads_total",
                                     "Reads that failed because their version is gone"),
      .cache_faults = metrics.counter("rangecache_cache_faults_total",
                                      "Failures of the cache disk that readers did not see"),
      .flights = metrics.gauge("rangecache_flights", "Ranges being fetched"),
      .passthrough_files = metrics.gauge("rangecache_passthrough_files",
                                         "Objects that the kernel reads by itself now"),
      .read_seconds = metrics.histogram("rangecache_read_seconds", "From read to answer"),
      .changed = nullptr};
}

/// The most of one directory that is fetched ahead.
constexpr std::uint64_t kDirectoryWindow = 8 << 20;

/// The least journal that is compacted: small caches must not be full of manifest.
std::uint64_t min_journal_bytes(std::uint64_t limit_bytes) {
  return std::clamp<std::uint64_t>(limit_bytes / 128, 64 << 10, 1 << 20);
}

}  // namespace

Cache::Cache(CacheOptions options, const Clock& clock, Metrics& metrics)
    : options_(std::move(options)),
      clock_(clock),
      metrics_(metrics),
      pool_(std::make_shared<BufferPool>(options_.memory_bytes, metrics)),
      ledger_(std::make_unique<Ledger>(options_.size_bytes, metrics)) {}

Result<std::unique_ptr<Cache>> Cache::open(CacheOptions options, FindOrigin find_origin,
                                           FileSystem& files, const Clock& clock,
                                           Metrics& metrics) {
  std::unique_ptr<Cache> cache(new Cache(std::move(options), clock, metrics));
  RC_ASSIGN(cache->store_,
            ChunkStore::open(files, cache->options_.directory, cache->options_.durability));
  RC_TRY(cache->load(find_origin, files));
  return cache;
}

Result<void> Cache::load(const FindOrigin& find_origin, FileSystem& files) {
  manifest_ = std::make_unique<Manifest>(
      files, store_->directory(),
      Manifest::Options{.min_journal_bytes = min_journal_bytes(options_.size_bytes),
                        .sync = options_.durability == Durability::kStrict});
  if (options_.durability == Durability::kBatch)
    sync_ = std::make_unique<BackgroundSync>(files, store_->directory(), metrics_);
  breaker_ = std::make_unique<DiskBreaker>(clock_, metrics_);
  pins_ = std::make_unique<Pins>(files, store_->directory(), clock_);
  groups_ = std::make_unique<EvictionGroups>(
      [this](std::uint64_t limit) {
        return options_.eviction == EvictionKind::kLru ? make_lru() : make_s3_fifo(limit);
      },
      options_.size_bytes, options_.quotas, *pins_,
      static_cast<std::uint64_t>(options_.max_pinned_share *
                                 static_cast<double>(options_.size_bytes)));
  open_chunks_ = std::make_unique<OpenChunks>(*store_, *groups_, *breaker_,
                                              options_.max_open_chunks, metrics_);
  storer_ =
      std::make_unique<Storer>(Storer::Parts{*store_, *manifest_, *ledger_, *groups_, *open_chunks_,
                                             *breaker_, files, clock_, metrics_, sync_.get()},
                               Storer::Options{options_.keep_free_bytes, options_.memory_bytes,
                                               options_.look_after_ms, options_.admit_second_use});
  context_ = std::make_unique<VersionContext>(
      make_context(pool_, *open_chunks_, *storer_, clock_, metrics_));
  catalog_ = std::make_unique<Catalog>(*context_, clock_, options_.freshness, metrics_);
  directory_read_ahead_ = std::make_unique<DirectoryReadAhead>(
      *catalog_, std::min(kDirectoryWindow, max_read_ahead()), metrics_);
  context_->changed = [catalog = catalog_.get()](const VersionPtr& version) {
    catalog->changed(version);
  };
  storer_->find_versions(
      [catalog = catalog_.get()](const VersionId& id) { return catalog->find_version(id); });

  ledger_->charge_existing(kFixedCharge);
  Loader loader(*catalog_, *storer_, find_origin);
  RC_ASSIGN(const LoadReport report, manifest_->open(loader));
  if (!report.problem.empty()) log_warning("{}", report.problem);
  if (loader.chunks() > 0)
    log_info("{}: {} chunks of an earlier run", options_.directory, loader.chunks());
  names_ = std::make_unique<NamesFile>(files, store_->directory(), *ledger_);
  KnownNames names = names_->load();
  // What was heard last is not in it: it must not overrule that, but tells what there is offline.
  if (!report.clean_stop) names.expire();
  catalog_->load(std::move(names), find_origin);
  storer_->shrink_to_limits();
  const bool walk = (!report.clean_stop || loader.orphaned_bytes() > 0) && store_->has_versions();
  if (walk) expect_strays(report, loader);

  RC_ASSIGN(writer_, make_chunk_writer(*store_, files, options_.writer));
  if (options_.merge_bytes_per_second > 0) {
    Merger::Options merging{.bytes_per_second = options_.merge_bytes_per_second,
                            .burst_bytes = options_.merge_burst_bytes};
    // One chunk must not be most of the cache: it comes and goes as one.
    merging.limits.whole_size = std::min(merging.limits.whole_size, options_.size_bytes / 8);
    merger_ = std::make_unique<Merger>(*store_, *storer_, metrics_, merging);
  }
  storer_->on_stored([this](const VersionPtr& version) { stored(version); });
  storer_->start(*writer_, [catalog = catalog_.get()] { return catalog->versions(); });
  scrubber_ =
      std::make_unique<Scrubber>(*store_, *storer_, *catalog_, metrics_, options_.scrubbing);
  names_->start([catalog = catalog_.get()] { return catalog->names_serial(); },
                [catalog = catalog_.get()] { return catalog->known_names(); });
  if (walk) walk_ = std::make_unique<StrayWalk>(*store_, *storer_, *catalog_, find_origin);
  return {};
}

std::uint64_t Cache::max_read_ahead() const {
  return std::min<std::uint64_t>(
      {ReadAhead::Options{}.max_window, options_.memory_bytes / 4, options_.size_bytes / 8});
}

ReadAhead::Options Cache::read_ahead_options(const Origin& origin) const {
  const std::uint64_t whole_size = options_.fetch_whole_bytes.of(origin);
  return {max_read_ahead(), std::min(whole_size, options_.size_bytes / 2)};
}

void Cache::stored(const VersionPtr& version) {
  if (merger_) merger_->merge_soon(version, options_.merge_settle_time);
  if (version->cached_bytes() < version->size()) return;
  if (Digest digest = version->take_digest(); digest.kind != Digest::Kind::kNone)
    scrubber_->compare_whole(version, std::move(digest));
}

/// How much may stand on the disk that the manifest does not name.
void Cache::expect_strays(const LoadReport& report, const Loader& loader) {
  const bool journal_whole =
      report.same_boot && report.problem.empty() && report.bytes_dropped == 0;
  if (report.clean_stop || journal_whole) {
    // What had its name and was not yet written down: its bytes were in memory still.
    const std::uint64_t under_way = report.clean_stop ? 0 : 2 * options_.memory_bytes;
    return storer_->expect_strays(loader.orphaned_bytes() + under_way);
  }
  storer_->expect_strays(options_.size_bytes);
  // What was heard last may be lost with the records: ask before the first use.
  for (const VersionPtr& version : catalog_->versions()) {
    auto heard = version->heard();
    heard.fresh_until_s = 0;
    version->set_heard(heard);
  }
}

void Cache::evict(const std::function<bool(const Version&)>& wanted,
                  UniqueFunction<void(Evicted)> done) {
  std::vector<VersionPtr> versions;
  for (VersionPtr& version : catalog_->versions())
    if (wanted(*version)) versions.push_back(std::move(version));
  storer_->evict(std::move(versions), std::move(done));
}

void Cache::merge_now(const VersionPtr& version) {
  if (merger_) merger_->merge_soon(version, std::chrono::milliseconds(0));
}

void Cache::stop() {
  if (std::exchange(stopped_, true) || !storer_) return;
  walk_.reset();
  if (names_) names_->stop();
  if (merger_) merger_->stop();
  if (scrubber_) scrubber_->stop();
  storer_->stop();
}

Cache::~Cache() {
  stop();
  writer_.reset();
}

}  // namespace rangecache::cache
