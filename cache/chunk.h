#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "base/ref_ptr.h"
#include "cache/block_table.h"
#include "cache/eviction.h"
#include "cache/interval_tree.h"
#include "cache/records.h"
#include "rangecache/byte_range.h"

namespace rangecache::cache {

class Version;

/// The index entry of one chunk file. Its version's tree holds a reference, and so does who
/// reads it; the file itself may be gone (evicted) while references exist. The EvictionHook is the
/// store thread's, but for its atomic frequency.
class Chunk : public RefCounted<Chunk>, public EvictionHook {
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
  IntervalHook interval;     ///< guarded by the version's lock
  std::uint64_t charge = 0;  ///< bytes in the ledger; the store thread's
  bool indexed = false;      ///< in its version's tree; guarded by its lock
  /// Set before the file is unlinked, under the OpenChunks shard lock.
  std::atomic<bool> evicted{false};
};
using ChunkPtr = RefPtr<Chunk>;

}  // namespace rangecache::cache
