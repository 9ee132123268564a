#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "cache/chunk.h"
#include "cache/version.h"
#include "rangecache/byte_range.h"

namespace rangecache::cache {

/// Chunks whose file could not be opened or read although nothing says that its bytes are bad
/// (EIO, EMFILE, ENOMEM). They are out of their version's tree, so that readers get the bytes from
/// the origin, but keep their file, their charge and their place in the eviction policy, and come
/// back after a while: 1 s, then twice as long for each time that they fail again, at most 60 s.
///
/// Thread-safe; a version's lock may be taken under its own. Times are the clock's monotonic
/// nanoseconds.
class SetAside {
 public:
  explicit SetAside(const Clock& clock) : clock_(clock) {}

  /// Then the caller takes it out of its tree: in this order a checkpoint that looks into the
  /// trees first misses none. False if it is here already, or evicted.
  bool add(ChunkPtr chunk) EXCLUDES(mu_);
  /// It is evicted.
  void forget(Chunk& chunk) EXCLUDES(mu_);
  /// Is some of `range` set aside? Then it must not be stored again beside it.
  bool overlaps(const Version& version, ByteRange range) const EXCLUDES(mu_);
  /// Brings back those whose time has come, or `all`. The bytes of one may be under way for a
  /// reader just now: then it stays until the next call. Returns those that are back: a checkpoint
  /// that is being written may have missed them.
  std::vector<ChunkPtr> restore(bool all) EXCLUDES(mu_);
  /// All of them, for a checkpoint: some may be in their trees.
  std::vector<ChunkPtr> chunks() const EXCLUDES(mu_);

 private:
  struct Entry {
    ChunkPtr chunk;
    std::int64_t delay_ns = 0;
    std::int64_t until_ns = 0;
    /// Out of its tree; else it was put back, and is known for its next delay, and because a reader
    /// that failed on it before may take it out once more.
    bool out = true;
  };

  const Clock& clock_;
  mutable Mutex mu_;
  std::unordered_map<const Chunk*, Entry> chunks_ GUARDED_BY(mu_);
};

}  // namespace rangecache::cache
