#include "cache/open_chunks.h"

#include <fcntl.h>

#include <algorithm>

#include "cache/prove.h"
#include "cache/version.h"

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kWarmStep = 128 * 1024;

/// Whether a read is a use of its own, and not the next part of one that this thread has seen: a
/// scan reads a chunk in many parts and must count once, or eviction takes it for popular.
bool begins_a_use(const Chunk* chunk, ByteRange part) {
  struct Use {
    const Chunk* chunk = nullptr;
    std::uint64_t end = 0;
  };
  constexpr std::uint64_t kNear = 256 * 1024;  // the kernel reads ahead in parts, out of order
  static thread_local std::array<Use, 64> recent;
  Use& use = recent[(reinterpret_cast<std::uintptr_t>(chunk) >> 6) % recent.size()];
  const bool goes_on =
      use.chunk == chunk && part.begin <= use.end + kNear && use.end <= part.begin + kNear;
  use = {chunk, part.end};
  return !goes_on;
}

}  // namespace

OpenChunks::OpenChunks(ChunkStore& store, EvictionGroups& groups, const DiskBreaker& breaker,
                       std::size_t max_open, Metrics& metrics)
    : store_(store),
      groups_(groups),
      breaker_(breaker),
      unused_ahead_(metrics.gauge("rangecache_read_ahead_unused_bytes",
                                  "Cached bytes that were read ahead and no reader has used")),
      max_open_per_shard_(std::max<std::size_t>(1, max_open / kShards)) {}

Result<Slice> OpenChunks::slice(const ChunkPtr& chunk, ByteRange part) {
  if (!breaker_.reads_allowed())
    return Error(ErrorCode::kBusy, "the cache disk is left alone because it fails");
  RC_ASSIGN(std::shared_ptr<OpenChunk> file, open(chunk));
  const BlockSpan wanted = chunk->blocks_of(part);
  if (!chunk->blocks.proved(wanted)) {
    RC_TRY(prove(store_, file->fd.get(), *chunk, wanted));
  }
  note_use(*chunk, part);
  const int fd = file->fd.get();
  return Slice{fd, part.begin - chunk->range.begin, nullptr, part.size(), std::move(file)};
}

void OpenChunks::warm(const ChunkPtr& chunk, ByteRange part) {
  if (!breaker_.reads_allowed()) return;
  const auto file = open(chunk);
  if (!file) return;  // a read meets the fault again and deals with it
  // The kernel cuts each request to what its block device takes at a time (bdi->io_pages, or its
  // own read-ahead), and forgets the rest without a word.
  const int fd = (*file)->fd.get();
  for (std::uint64_t at = part.begin; at < part.end; at += kWarmStep) {
    (void)::posix_fadvise(fd, static_cast<off_t>(at - chunk->range.begin),
                          static_cast<off_t>(std::min(kWarmStep, part.end - at)),
                          POSIX_FADV_WILLNEED);
  }
}

void OpenChunks::note_use(Chunk& chunk, ByteRange part) {
  if (begins_a_use(&chunk, part)) groups_.touched(chunk);
  if (chunk.unread_ahead.load(std::memory_order_relaxed) && chunk.unread_ahead.exchange(false))
    unused_ahead_.add(-static_cast<std::int64_t>(chunk.range.size()));
}

Result<std::shared_ptr<OpenChunk>> OpenChunks::open(const ChunkPtr& chunk) {
  Shard& shard = shard_of(chunk.get());
  {
    MutexLock lock(shard.mu);
    const auto found = shard.by_chunk.find(chunk.get());
    if (found != shard.by_chunk.end()) {
      shard.recent.splice(shard.recent.begin(), shard.recent, found->second);
      return found->second->file;
    }
  }
  RC_ASSIGN(UniqueFd fd, store_.open_chunk(chunk->version->id(), chunk->range));
  auto file = std::make_shared<OpenChunk>();
  file->fd = std::move(fd);

  std::shared_ptr<OpenChunk> displaced;  // closed outside the lock
  MutexLock lock(shard.mu);
  if (chunk->evicted.load()) return Error(ErrorCode::kNotFound, "the chunk was evicted");
  const auto found = shard.by_chunk.find(chunk.get());
  if (found != shard.by_chunk.end()) return found->second->file;  // another reader was quicker
  shard.recent.push_front({chunk.get(), file});
  shard.by_chunk[chunk.get()] = shard.recent.begin();
  // Only descriptors that nobody uses are closed: a retired chunk must find those in use here.
  for (auto it = std::prev(shard.recent.end());
       shard.recent.size() > max_open_per_shard_ && it != shard.recent.begin(); --it) {
    if (it->file.use_count() > 1) continue;
    shard.by_chunk.erase(it->chunk);
    displaced = std::move(it->file);
    shard.recent.erase(it);
    break;
  }
  return file;
}

void OpenChunks::retire(Chunk& chunk, Charge charge) {
  std::shared_ptr<OpenChunk> file;
  Shard& shard = shard_of(&chunk);
  MutexLock lock(shard.mu);
  chunk.evicted = true;
  const auto found = shard.by_chunk.find(&chunk);
  if (found == shard.by_chunk.end()) return;  // `charge` goes back to the ledger here
  file = std::move(found->second->file);
  shard.recent.erase(found->second);
  shard.by_chunk.erase(found);
  file->zombie = std::move(charge);
}

}  // namespace rangecache::cache
