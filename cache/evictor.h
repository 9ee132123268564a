#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include "base/clock.h"
#include "base/metrics.h"
#include "cache/chunk.h"
#include "cache/disk_breaker.h"
#include "cache/eviction_groups.h"
#include "cache/free_space.h"
#include "cache/ledger.h"
#include "cache/open_chunks.h"
#include "cache/read_ahead_grace.h"
#include "cache/watermarks.h"

namespace rangecache::cache {

/// Makes room: under the hard limit (Ledger), in a quota (EvictionGroups), above the floor of free
/// disk space (FreeSpace), and ahead of need between two Watermarks. Which chunk goes, the policies
/// say; what becomes of its file is the owner's business.
///
/// The store thread's. Sizes in bytes.
class Evictor {
 public:
  struct Parts {
    Ledger& ledger;
    EvictionGroups& groups;
    FreeSpace& free_space;
    DiskBreaker& breaker;
    OpenChunks& open_chunks;
    const Clock& clock;
    Metrics& metrics;
  };
  /// Takes a chunk out of the index and off the disk, and erase()s it here. False: its file could
  /// not be deleted, so that nothing is gained.
  using Remove = std::function<bool(Chunk&)>;

  Evictor(Parts parts, Remove remove);

  /// `chunk` is on the disk and in the ledger: from here on it can be evicted. With `read_ahead`,
  /// not before it has had time to be read.
  void insert(Chunk& chunk, bool read_ahead = false);
  /// The reverse; returns the bytes that are still in the ledger.
  std::uint64_t erase(Chunk& chunk);

  /// Takes bytes from the ledger, evicting for them; false if nothing more can go.
  [[nodiscard]] bool reserve(std::uint64_t bytes);
  /// Evicts for `bytes` more in the version's quota; false if nothing more can go.
  [[nodiscard]] bool make_room_in_quota(Version& version, std::uint64_t bytes);
  /// Makes room in the file system for what is new, by what is old of ours, but not for others:
  /// that is trim()'s business. False: it may not be written.
  [[nodiscard]] bool leaves_floor(std::uint64_t bytes);
  /// Others filled the disk: gives some of ours back, so that the next writes fit.
  void make_room_on_full_disk();
  /// Until the limit and the quotas hold, which may have been lowered.
  void shrink_to_limits();

  /// Whether trim() has something to do.
  bool wants_trim();
  /// One slice: evicts ahead of need, so that writes need not wait for it. False: that is all, or
  /// all that can be done.
  bool trim();
  /// Hands read-ahead that was used, or has waited for long enough, to the policies.
  void end_grace();

  /// Files of `bytes` at most may stand on the disk that nobody has counted. Until it is called
  /// with 0, there must be room for those, too (promise 7).
  void expect_strays(std::uint64_t bytes) { strays_ = bytes; }
  bool has_strays() const { return strays_ > 0; }
  bool fits_beside_strays(std::uint64_t bytes) const;

 private:
  enum class Outcome { kNothingLeft, kFreed, kStuck };
  Outcome evict_one();
  Outcome evict(Chunk& victim);
  bool end_oldest_grace();

  Parts parts_;
  const Remove remove_;
  Counter& evicted_chunks_;
  Counter& evicted_bytes_;
  Counter& wasted_ahead_bytes_;
  Gauge& chunks_;
  const Watermarks marks_;
  ReadAheadGrace grace_;
  std::uint64_t strays_ = 0;
  bool trimming_ = false;  ///< above the high mark, on the way to the low one
};

}  // namespace rangecache::cache
