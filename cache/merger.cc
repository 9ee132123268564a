#include "cache/merger.h"

#include <fcntl.h>
#include <pthread.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "cache/prove.h"
#include "cache/verifier.h"

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kProveSlice = 4 << 20;

/// The checksums of a chunk that comes in pieces of any size.
class ChunkHasher {
 public:
  void add(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const std::size_t taken = std::min<std::size_t>(bytes.size(), kBlockSize - block_.size());
      block_.insert(block_.end(), bytes.begin(),
                    bytes.begin() + static_cast<std::ptrdiff_t>(taken));
      bytes = bytes.subspan(taken);
      if (block_.size() == kBlockSize) end_block();
    }
  }
  std::vector<std::uint32_t> finish() {
    if (!block_.empty()) end_block();
    return std::move(checksums_);
  }

 private:
  void end_block() {
    checksums_.push_back(block_checksum(block_.data(), block_.size()));
    block_.clear();
  }
  std::vector<std::byte> block_;
  std::vector<std::uint32_t> checksums_;
};

}  // namespace

Merger::Merger(ChunkStore& store, Storer& storer, Metrics& metrics, Options options)
    : store_(store),
      storer_(storer),
      options_(options),
      waiting_(metrics.gauge("rangecache_merging_objects",
                             "Objects whose chunks are being merged, or wait for it")),
      merged_chunks_(metrics.counter("rangecache_merged_chunks_total",
                                     "Chunks that became part of a larger one")),
      merged_bytes_(
          metrics.counter("rangecache_merged_bytes_total", "Bytes copied to merge chunks")),
      faults_(metrics.counter("rangecache_cache_faults_total",
                              "Failures of the cache disk that readers did not see")) {
  thread_ = std::thread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "rc-merge");
}

Merger::~Merger() { stop(); }

void Merger::stop() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Merger::merge_soon(const VersionPtr& version, std::chrono::milliseconds delay) {
  const Time at = std::chrono::steady_clock::now() + delay;
  MutexLock lock(mu_);
  const auto [when, is_new] = when_.try_emplace(version, at);
  if (is_new) {
    waiting_.add(1);
  } else {
    if (when->second <= at) return;
    for (auto [it, last] = due_.equal_range(when->second); it != last; ++it) {
      if (it->second != version) continue;
      due_.erase(it);
      break;
    }
    when->second = at;
  }
  const auto place = due_.emplace(at, version);
  if (place == due_.begin()) changed_.notify_all();
}

bool Merger::stopping() {
  MutexLock lock(mu_);
  return stopping_;
}

VersionPtr Merger::next() {
  MutexLock lock(mu_);
  for (;;) {
    if (stopping_) return nullptr;
    if (due_.empty()) {
      changed_.wait(mu_);
      continue;
    }
    const auto now = std::chrono::steady_clock::now();
    if (due_.begin()->first > now) {
      changed_.wait_for(mu_, due_.begin()->first - now);
      continue;
    }
    VersionPtr version = std::move(due_.begin()->second);
    due_.erase(due_.begin());
    when_.erase(version);  // what is added from here on is looked at again
    return version;
  }
}

void Merger::run() {
  while (const VersionPtr version = next()) {
    merge_neighbours(version);
    waiting_.add(-1);
  }
}

void Merger::merge_neighbours(const VersionPtr& version) {
  const std::vector<ChunkPtr> chunks = version->chunks();
  std::vector<ByteRange> ranges;
  ranges.reserve(chunks.size());
  for (const ChunkPtr& chunk : chunks) ranges.push_back(chunk->range);
  bool merged = false;
  for (const ByteRange range : plan_merges(version->size(), ranges, options_.limits)) {
    const auto first = std::lower_bound(ranges.begin(), ranges.end(), range.begin,
                                        [](ByteRange r, std::uint64_t at) { return r.begin < at; });
    const auto last = std::lower_bound(first, ranges.end(), range.end,
                                       [](ByteRange r, std::uint64_t at) { return r.begin < at; });
    if (!pause_for(std::min(range.size(), options_.burst_bytes))) return;
    merged |= merge(version, {chunks.begin() + (first - ranges.begin()),
                              chunks.begin() + (last - ranges.begin())});
  }
  if (merged) merge_soon(version, {});  // what came of it may have neighbours, too
}

/// Keeps to the rate. False when it is time to stop.
bool Merger::pause_for(std::uint64_t bytes) {
  MutexLock lock(mu_);
  for (;;) {
    const auto now = std::chrono::steady_clock::now();
    if (stopping_) return false;
    if (now >= free_at_) {
      free_at_ = now + std::chrono::microseconds(bytes * 1'000'000 / options_.bytes_per_second);
      return true;
    }
    changed_.wait_for(mu_, free_at_ - now);
  }
}

bool Merger::merge(const VersionPtr& version, std::vector<ChunkPtr> sources) {
  const ByteRange range{sources.front()->range.begin, sources.back()->range.end};
  if (!storer_.begin_merge(version, range)) return false;
  auto checksums = write(*version, range, sources);
  if (!checksums) {
    const bool evicted = checksums.error().code == ErrorCode::kNotFound &&
                         std::any_of(sources.begin(), sources.end(),
                                     [](const ChunkPtr& source) { return source->evicted.load(); });
    if (!stopping() && !evicted) {
      faults_.add();
      log_warning("{}: chunks of {} are not merged", checksums.error().message(), version->url());
    }
    storer_.end_merge(version, range, {}, {});
    return false;
  }
  // Not taken for proved: the copy has to be what was read here. While it stands in the page cache
  // that costs little, and the kernel may read a complete object by itself at its next open.
  ChunkPtr chunk(new Chunk(version.get(), range, *checksums, /*proved=*/false));
  if (!prove_copy(*chunk)) {
    faults_.add();
    log_warning("a copy does not match its checksums: chunks of {} are not merged", version->url());
    (void)store_.remove_chunk(version->id(), range);
    storer_.end_merge(version, range, {}, {});
    return false;
  }
  const std::size_t count = sources.size();
  if (!storer_.end_merge(version, range, std::move(chunk), std::move(sources))) return false;
  merged_chunks_.add(count);
  merged_bytes_.add(range.size());
  return true;
}

/// False: the copy is bad. What is not proved because the disk failed, or it is time to stop,
/// readers prove.
bool Merger::prove_copy(Chunk& chunk) {
  const auto file = store_.open_chunk(chunk.version->id(), chunk.range);
  const std::size_t blocks = chunk.blocks.count(), slice = kProveSlice / kBlockSize;
  for (std::size_t begin = 0; file && begin < blocks; begin += slice) {
    const BlockSpan span{begin, std::min(begin + slice, blocks)};
    if (auto proved = prove(store_, file->get(), chunk, span); !proved)
      return proved.error().code != ErrorCode::kCorrupt;
    if (span.end * kBlockSize > options_.burst_bytes && !pause_for(kProveSlice)) return true;
  }
  return true;
}

/// Writes the file and gives it its name. Every byte is proved on its way: a merged chunk must not
/// make a bad one look good.
Result<std::vector<std::uint32_t>> Merger::write(const Version& version, ByteRange range,
                                                 const std::vector<ChunkPtr>& sources) {
  FileSystem& files = store_.files();
  const std::string temp = store_.temp_path();
  const auto fill = [&]() -> Result<std::vector<std::uint32_t>> {
    RC_ASSIGN(const UniqueFd to, files.open(temp, O_WRONLY | O_CREAT | O_EXCL, 0600));
    ChunkHasher hasher;
    for (const ChunkPtr& source : sources) {
      if (stopping()) return Error(ErrorCode::kShuttingDown, "the cache is being closed");
      auto from = store_.open_chunk(version.id(), source->range);
      if (!from) {
        const ErrorCode code = from.error().code;
        if (code == ErrorCode::kCorrupt || code == ErrorCode::kNotFound) storer_.discard(source);
        return from.error();
      }
      if (!source->blocks.known()) {
        RC_ASSIGN(const auto proved, store_.prove(version.id(), source->range, from->get()));
        source->blocks.learn(proved);
      }
      RC_ASSIGN(const bool whole,
                verify_blocks(files, from->get(), source->range, source->blocks,
                              {0, source->blocks.count()},
                              [&](std::span<const std::byte> bytes) { hasher.add(bytes); }));
      if (!whole) {
        storer_.discard(source);
        return Error(ErrorCode::kCorrupt, store_.chunk_path(version.id(), source->range) +
                                              " does not match its checksums");
      }
      RC_TRY(files.copy(from->get(), {0, source->range.size()}, to.get(),
                        source->range.begin - range.begin));
      if (source->range.end - range.begin > options_.burst_bytes)
        static_cast<void>(pause_for(source->range.size()));  // false: the next round ends it
    }
    auto checksums = hasher.finish();
    const auto marked =
        files.set_attribute(to.get(), ChunkStore::kIdentityAttribute,
                            ChunkStore::identity(version.id(), range, chunk_checksum(checksums)));
    if (!marked && marked.error().code != ErrorCode::kUnsupported) return marked.error();
    if (store_.durability() == Durability::kStrict) RC_TRY(files.sync(to.get()));
    RC_TRY(files.rename(temp, store_.chunk_path(version.id(), range)));
    RC_TRY(store_.sync_names(version.id()));
    return checksums;
  };
  auto checksums = fill();
  if (!checksums) (void)files.unlink(temp);
  return checksums;
}

}  // namespace rangecache::cache
