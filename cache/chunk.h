#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/ref_ptr.h"
#include "cache/eviction.h"
#include "cache/interval_tree.h"
#include "cache/piece.h"
#include "cache/records.h"
#include "rangecache/byte_range.h"

namespace rangecache::cache {

class Version;

/// The index entry of one chunk file. Its version's tree holds a reference, and so does who
/// reads it; the file itself may be gone (evicted) while references exist. The EvictionHook is the
/// store thread's, but for its atomic frequency.
class Chunk : public RefCounted<Chunk>, public EvictionHook {
 public:
  Chunk(Version* owner, ByteRange chunk_range, std::vector<std::uint32_t> block_checksums)
      : range(chunk_range), version(owner), checksums(std::move(block_checksums)) {}

  /// The blocks (bits, from the begin) that `part` of the object's bytes touches.
  std::uint64_t blocks_of(ByteRange part) const {
    const std::uint64_t first = (part.begin - range.begin) / kBlockSize;
    const std::uint64_t last = (part.end - 1 - range.begin) / kBlockSize;
    const std::uint64_t upto =
        last == 63 ? ~std::uint64_t{0} : (std::uint64_t{1} << (last + 1)) - 1;
    return upto & ~((std::uint64_t{1} << first) - 1);
  }

  ByteRange range;         ///< constant once in the tree
  Version* const version;  ///< outlives its chunks
  const std::vector<std::uint32_t> checksums;
  IntervalHook interval;     ///< guarded by the version's lock
  bool indexed = false;      ///< in its version's tree; guarded by its lock
  std::uint64_t charge = 0;  ///< bytes in the ledger; the store thread's
  /// Blocks whose checksum was proved since the start; bytes written in this run count as proved.
  std::atomic<std::uint64_t> proved_blocks{0};
  /// Set before the file is unlinked, under the OpenChunks shard lock.
  std::atomic<bool> evicted{false};
  /// A read-ahead brought it and no reader has used it yet (see ReadAheadGrace).
  std::atomic<bool> unread_ahead{false};
};
using ChunkPtr = RefPtr<Chunk>;

}  // namespace rangecache::cache
