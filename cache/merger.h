#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/metrics.h"
#include "base/mutex.h"
#include "cache/chunk_store.h"
#include "cache/merge_plan.h"
#include "cache/storer.h"
#include "cache/version.h"

namespace rangecache::cache {

/// Makes one file of neighbouring chunks, in the background, on a thread of its own ("rc-merge"),
/// so that random reads leave no millions of files, and a complete object is one file that the
/// kernel can read by itself.
///
///     chunks read, each proved ─► copied to a temp file (blocks shared where the file system can)
///       ─► renamed ─► the store thread puts it in their place: tree, journal, then unlinks them
///
/// A kill at any step leaves either them or it: the file counts once the journal names it, and what
/// the journal does not name overlaps what it does, and is removed by the next start's walk.
class Merger {
 public:
  struct Options {
    std::uint64_t bytes_per_second = 64 << 20;
    /// So much is copied at once, and the rate kept to afterwards: what has just been read through
    /// is one file by the time of its next open. A larger merge keeps to the rate from there on.
    std::uint64_t burst_bytes = 1 << 30;
    MergeLimits limits;
  };

  Merger(ChunkStore& store, Storer& storer, Metrics& metrics, Options options);
  ~Merger();
  /// Ends the thread, within a merge if need be. Before the storer's stop. Idempotent.
  void stop() EXCLUDES(mu_);

  /// Looks at the version's chunks after `delay`, or at the time of an earlier call if that comes
  /// first: many new chunks are one look. Any thread.
  void merge_soon(const VersionPtr& version, std::chrono::milliseconds delay) EXCLUDES(mu_);

 private:
  using Time = std::chrono::steady_clock::time_point;

  void run();
  VersionPtr next() EXCLUDES(mu_);
  void merge_neighbours(const VersionPtr& version);
  bool merge(const VersionPtr& version, std::vector<ChunkPtr> sources);
  Result<std::vector<std::uint32_t>> write(const Version& version, ByteRange range,
                                           const std::vector<ChunkPtr>& sources);
  bool prove_copy(Chunk& chunk) EXCLUDES(mu_);
  bool pause_for(std::uint64_t bytes) EXCLUDES(mu_);
  bool stopping() EXCLUDES(mu_);

  ChunkStore& store_;
  Storer& storer_;
  const Options options_;
  Gauge& waiting_;
  Counter& merged_chunks_;
  Counter& merged_bytes_;
  Counter& faults_;
  Time free_at_{};  ///< when the rate allows the next merge; the thread's

  Mutex mu_;
  CondVar changed_;
  std::unordered_map<VersionPtr, Time> when_ GUARDED_BY(mu_);
  std::multimap<Time, VersionPtr> due_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace rangecache::cache
