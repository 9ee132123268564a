#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "base/ref_ptr.h"
#include "cache/block_table.h"
#include "cache/eviction.h"
#include "cache/interval_tree.h"
#include "cache/records.h"
#include "rangecache/byte_range.h"

namespace rangecache::cache {

class Version;

/// A base, so that the flags fill what the eviction hook leaves of a word.
struct ChunkFlags {
  /// Set before the file is unlinked, under the OpenChunks shard lock.
  std::atomic<bool> evicted{false};
  bool indexed = false;  ///< in its version's tree; guarded by its lock
  /// A read-ahead brought it and no reader has used it yet (see ReadAheadGrace).
  std::atomic<bool> unread_ahead{false};
};

/// The index entry of one chunk file. Its version's tree holds a reference, and so does who
/// reads it; the file itself may be gone (evicted) while references exist. The EvictionHook is the
/// store thread's, but for what readers touch.
class Chunk : public EvictionHook, public ChunkFlags, public RefCounted<Chunk> {
 public:
  /// Of a chunk that was found on the disk: its blocks are not known yet.
  Chunk(Version* owner, ByteRange chunk_range) : range(chunk_range), version(owner) {}
  Chunk(Version* owner, ByteRange chunk_range, std::span<const std::uint32_t> checksums,
        bool proved)
      : range(chunk_range), version(owner), blocks(checksums, proved) {}

  /// The blocks that `part` of the object's bytes touches.
  BlockSpan blocks_of(ByteRange part) const {
    return {(part.begin - range.begin) / kBlockSize, (part.end - 1 - range.begin) / kBlockSize + 1};
  }

  ByteRange range;         ///< constant once in the tree
  Version* const version;  ///< outlives its chunks
  BlockTable blocks;
  IntervalHook interval;  ///< guarded by the version's lock
};
static_assert(sizeof(Chunk) <= 88, "96 bytes of heap: ten million of them fit a gigabyte");
using ChunkPtr = RefPtr<Chunk>;

}  // namespace rangecache::cache
