#include "cache/cache.h"

#include <fmt/format.h>

#include <map>
#include <set>
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
      .read_seconds = metrics.histogram("rangecache_read_seconds", "From read to answer"),
      .changed = nullptr};
}

/// Takes what the manifest says and makes versions and chunks of it, in two steps: the journal
/// may still remove what the checkpoint has.
class Loader final : public Manifest::Visitor {
 public:
  void on_version(VersionRecord&& record) override {
    versions_[record.id].record = std::move(record);
  }
  void on_version_removed(const VersionId& id) override { versions_.erase(id); }
  void on_chunk(ChunkRecord&& record) override {
    const auto version = versions_.find(record.version);
    if (version == versions_.end()) return;
    version->second.chunks.insert_or_assign(record.range.begin, std::move(record));
  }
  void on_chunk_removed(const VersionId& id, ByteRange range) override {
    const auto version = versions_.find(id);
    if (version == versions_.end()) return;
    const auto chunk = version->second.chunks.find(range.begin);
    if (chunk != version->second.chunks.end() && chunk->second.range == range)
      version->second.chunks.erase(chunk);
  }

  struct Loaded {
    VersionRecord record;
    std::map<std::uint64_t, ChunkRecord> chunks;
  };
  std::unordered_map<VersionId, Loaded>& versions() { return versions_; }

 private:
  std::unordered_map<VersionId, Loaded> versions_;
};

bool plausible(const ChunkRecord& chunk, const VersionRecord& version) {
  return !chunk.range.empty() && chunk.range.end <= version.size &&
         chunk.range.size() <= kPieceSize &&
         chunk.checksums.size() == (chunk.range.size() + kBlockSize - 1) / kBlockSize;
}

}  // namespace

Cache::Cache(CacheOptions options, const Clock& clock, Metrics& metrics)
    : options_(std::move(options)),
      clock_(clock),
      metrics_(metrics),
      pool_(std::make_shared<BufferPool>(options_.memory_bytes, metrics)),
      ledger_(std::make_unique<Ledger>(options_.size_bytes, metrics)),
      policy_(options_.eviction == EvictionKind::kLru ? make_lru()
                                                      : make_s3_fifo(options_.size_bytes)) {}

Result<std::unique_ptr<Cache>> Cache::open(CacheOptions options, FindOrigin find_origin,
                                           FileSystem& files, const Clock& clock,
                                           Metrics& metrics) {
  std::unique_ptr<Cache> cache(new Cache(std::move(options), clock, metrics));
  RC_ASSIGN(cache->store_, ChunkStore::open(files, cache->options_.directory));
  RC_TRY(cache->load(find_origin, files));
  return cache;
}

Result<void> Cache::load(const FindOrigin& find_origin, FileSystem& files) {
  Loader loader;
  LoadReport report;
  RC_ASSIGN(manifest_, Manifest::open(files, options_.directory, loader, report));
  if (!report.problem.empty()) log_warning("{}", report.problem);

  breaker_ = std::make_unique<DiskBreaker>(clock_, metrics_);
  open_chunks_ =
      std::make_unique<OpenChunks>(*store_, *breaker_, options_.max_open_chunks, metrics_);
  storer_ = std::make_unique<Storer>(
      Storer::Parts{*store_, *manifest_, *ledger_, *policy_, *open_chunks_, *breaker_, files,
                    clock_, metrics_},
      Storer::Options{options_.keep_free_bytes, options_.look_after_ms});
  context_ = std::make_unique<VersionContext>(
      make_context(pool_, *open_chunks_, *storer_, clock_, metrics_));
  catalog_ = std::make_unique<Catalog>(*context_, clock_, options_.freshness, metrics_);
  context_->changed = [catalog = catalog_.get()](const VersionPtr& version) {
    catalog->changed(version);
  };

  ledger_->charge_existing(kFixedCharge);
  std::uint64_t chunks = 0;
  for (auto& [id, loaded] : loader.versions()) {
    const bool lasting = loaded.record.validator.kind != Validator::Kind::kPrivate;
    auto origin = find_origin(loaded.record.origin_id);
    if (!lasting || !origin) {
      // Nobody can ask for these bytes any more.
      for (const auto& [begin, chunk] : loaded.chunks) (void)store_->remove_chunk(id, chunk.range);
      (void)store_->remove_version(id);
      manifest_->append_version_removed(id);
      continue;
    }
    const VersionRecord record = loaded.record;
    const VersionPtr version = catalog_->load(*origin, std::move(loaded.record));
    storer_->adopt_directory(version);
    for (auto& [begin, chunk] : loaded.chunks) {
      if (!plausible(chunk, record)) {
        (void)store_->remove_chunk(id, chunk.range);
        manifest_->append_chunk_removed(id, chunk.range);
        continue;
      }
      storer_->adopt_loaded(version, std::move(chunk));
      ++chunks;
    }
  }
  // In another boot, unlinks and renames that came after the clean mark's data may be undone.
  if (!report.clean_stop || !report.same_boot) adopt_strays(find_origin);
  storer_->shrink_to_limit();
  RC_ASSIGN(writer_, make_chunk_writer(*store_, files, options_.writer));
  storer_->start(*writer_, [catalog = catalog_.get()] { return catalog->versions(); });
  if (chunks > 0) log_info("{}: {} chunks of an earlier run", options_.directory, chunks);
  return {};
}

/// After a kill, files may stand on disk that the journal does not name: renamed, but not yet
/// written down. Each is proved by its own checksum and taken in, or removed, before anything
/// else is written, so that the ledger never misses a byte.
void Cache::adopt_strays(const FindOrigin& find_origin) {
  std::map<std::pair<VersionId, std::uint64_t>, std::uint64_t> known;  // to the range's end
  for (const VersionPtr& version : catalog_->versions()) {
    for (const ChunkPtr& chunk : version->chunks())
      known[{version->id(), chunk->range.begin}] = chunk->range.end;
  }
  const auto overlaps_known = [&](const FoundChunk& found) {
    const auto next = known.lower_bound({found.version, found.range.begin});
    if (next != known.end() && next->first.first == found.version &&
        next->first.second < found.range.end) {
      return true;
    }
    if (next == known.begin()) return false;
    const auto previous = std::prev(next);
    return previous->first.first == found.version && previous->second > found.range.begin;
  };
  std::uint64_t adopted = 0, removed = 0;
  std::set<VersionId> seen;
  const auto on_chunk = [&](const FoundChunk& found) {
    const auto same = known.find({found.version, found.range.begin});
    if (same != known.end() && same->second == found.range.end) return;
    if (!overlaps_known(found) && adopt_stray(found, find_origin)) {
      known[{found.version, found.range.begin}] = found.range.end;
      ++adopted;
    } else {
      (void)store_->remove_chunk(found.version, found.range);
      ++removed;
    }
  };
  const auto on_version = [&](const VersionId& id) { seen.insert(id); };
  if (auto scanned = store_->scan(on_chunk, on_version); !scanned)
    log_warning("{}", scanned.error().message());
  for (const VersionId& id : seen) {
    if (!catalog_->find_version(id)) (void)store_->remove_version(id);
  }
  if (adopted + removed > 0) {
    log_info("after an unclean stop: {} chunks adopted, {} removed", adopted, removed);
  }
}

bool Cache::adopt_stray(const FoundChunk& found, const FindOrigin& find_origin) {
  if (!found.identity_matches || found.size != found.range.size() || found.size > kPieceSize)
    return false;
  VersionPtr version = catalog_->find_version(found.version);
  if (!version) {
    auto meta = store_->read_meta(found.version);
    if (!meta || meta->validator.kind == Validator::Kind::kPrivate) return false;
    auto origin = find_origin(meta->origin_id);
    if (!origin) return false;
    meta->current = true;
    meta->fresh_until_s = 0;  // what was heard since is lost: ask before the first use
    version = catalog_->load(*origin, *std::move(meta));
    storer_->adopt_directory(version);
    manifest_->append_version(version->record());
  }
  if (found.range.end > version->size()) return false;
  auto checksums = store_->prove(found);
  if (!checksums) return false;
  ChunkRecord record{found.version, found.range, *std::move(checksums)};
  manifest_->append_chunk(record);
  storer_->adopt_loaded(version, std::move(record));
  return true;
}

void Cache::evict(const std::function<bool(const Version&)>& wanted,
                  UniqueFunction<void(Evicted)> done) {
  std::vector<ChunkPtr> chunks;
  std::uint64_t objects = 0;
  for (const VersionPtr& version : catalog_->versions()) {
    if (!wanted(*version)) continue;
    std::vector<ChunkPtr> of_version = version->chunks();
    objects += of_version.empty() ? 0 : 1;
    std::move(of_version.begin(), of_version.end(), std::back_inserter(chunks));
  }
  storer_->evict(std::move(chunks), [objects, done = std::move(done)](std::uint64_t count,
                                                                      std::uint64_t bytes) mutable {
    done({objects, count, bytes});
  });
}

void Cache::stop() {
  if (std::exchange(stopped_, true) || !storer_) return;
  storer_->stop();
}

Cache::~Cache() {
  stop();
  writer_.reset();
}

}  // namespace rangecache::cache
