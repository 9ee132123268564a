#pragma once

#include <array>
#include <cstddef>
#include <list>
#include <memory>
#include <unordered_map>

#include "base/metrics.h"
#include "base/mutex.h"
#include "base/slice.h"
#include "base/unique_fd.h"
#include "cache/chunk.h"
#include "cache/chunk_store.h"
#include "cache/disk_breaker.h"
#include "cache/eviction_groups.h"
#include "cache/ledger.h"
#include "rangecache/result.h"

namespace rangecache::cache {

/// An open chunk file. Slices share it; the last one closes the descriptor.
struct OpenChunk {
  UniqueFd fd;
  /// After eviction: the disk space that the unlinked file keeps until this descriptor closes
  /// (promise 7: such files count).
  Charge zombie;
};

/// Opens chunk files for readers and keeps the most recent descriptors. Thread-safe; I/O happens
/// outside the locks.
class OpenChunks {
 public:
  OpenChunks(ChunkStore& store, EvictionGroups& groups, const DiskBreaker& breaker,
             std::size_t max_open, Metrics& metrics);

  /// Bytes that a read-ahead brought and no reader has used: a gauge that the storer raises and
  /// the first use lowers.
  Gauge& unused_ahead() { return unused_ahead_; }

  /// The slice of `part` (which lies within the chunk). Blocks that were not proved since the
  /// start are checked against their checksums first. kNotFound: evicted or vanished;
  /// kCorrupt: bytes do not match; else the disk failed, or is left alone because it does (kBusy),
  /// which says nothing about the chunk.
  Result<Slice> slice(const ChunkPtr& chunk, ByteRange part);

  /// `part` of it will be read soon: the kernel begins to read it from the disk. Waits for no more
  /// than that the requests are queued. Counts as no use.
  void warm(const ChunkPtr& chunk, ByteRange part);

  /// Somebody reads `part` of it, from here or from memory.
  void note_use(Chunk& chunk, ByteRange part);

  /// The chunk is about to be unlinked: no new slices. Its space is charged until the last
  /// descriptor is closed, which may be at once.
  void retire(Chunk& chunk, Charge charge);

 private:
  struct Entry {
    const Chunk* chunk;
    std::shared_ptr<OpenChunk> file;
  };
  struct Shard {
    Mutex mu;
    std::list<Entry> recent GUARDED_BY(mu);  ///< most recently used first
    std::unordered_map<const Chunk*, std::list<Entry>::iterator> by_chunk GUARDED_BY(mu);
  };
  static constexpr std::size_t kShards = 16;

  Shard& shard_of(const Chunk* chunk) {
    return shards_[(reinterpret_cast<std::uintptr_t>(chunk) >> 7) % kShards];
  }
  Result<std::shared_ptr<OpenChunk>> open(const ChunkPtr& chunk);

  ChunkStore& store_;
  EvictionGroups& groups_;
  const DiskBreaker& breaker_;
  Gauge& unused_ahead_;
  const std::size_t max_open_per_shard_;
  std::array<Shard, kShards> shards_;
};

}  // namespace rangecache::cache
