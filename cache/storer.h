#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "base/event_loop.h"
#include "base/metrics.h"
#include "cache/chunk.h"
#include "cache/chunk_store.h"
#include "cache/chunk_writer.h"
#include "cache/disk_breaker.h"
#include "cache/eviction.h"
#include "cache/free_space.h"
#include "cache/ledger.h"
#include "cache/manifest.h"
#include "cache/open_chunks.h"
#include "cache/read_ahead_grace.h"
#include "cache/set_aside.h"
#include "cache/version.h"
#include "cache/watermarks.h"

namespace rangecache::cache {

/// Keeps the bytes: the one thread ("rc-store") that decides what is written, what is evicted and
/// what the manifest says. So eviction, manifest and accounting need no lock, and no reader ever
/// waits for a disk write. The chunk writer's own threads do the writing.
///
/// The life of a piece:  store() -> space reserved (evicting) -> written, renamed -> in the
/// version's tree, in the eviction policy, in the journal. At any failure the piece is dropped,
/// its reservation released, the fault counted: readers have its bytes anyway (promise 3). While
/// the disk fails (DiskBreaker) or others need its space (FreeSpace), pieces are dropped unwritten.
///
/// Once a second it looks after the disk: free space, the breaker's probe, chunks set aside.
class Storer {
 public:
  struct Parts {
    ChunkStore& store;
    Manifest& manifest;
    Ledger& ledger;
    EvictionPolicy& policy;
    OpenChunks& open_chunks;
    DiskBreaker& breaker;
    FileSystem& files;
    const Clock& clock;
    Metrics& metrics;
  };
  struct Options {
    std::uint64_t keep_free_bytes = 0;   ///< the floor of free disk space; 0: none
    std::int64_t look_after_ms = 1'000;  ///< how often it looks after the disk, in real time
  };
  Storer(Parts parts, Options options);
  ~Storer();

  /// The writer is made after the storer because it needs its own threads; call before store().
  void start(ChunkWriter& writer, std::function<std::vector<VersionPtr>()> all_versions);

  /// Takes a sealed piece to the disk, or drops it. Any thread.
  void store(VersionPtr version, std::shared_ptr<Piece> piece);
  /// The chunk's file is missing or bad: forget it, delete what is there. Any thread.
  void discard(ChunkPtr chunk);
  /// The chunk's file cannot be opened or read now: its bytes come from the origin for a while.
  /// The caller then removes it from its version. Any thread.
  void set_aside(ChunkPtr chunk, const Error& error);
  /// Evicts these chunks (not those in the making), then calls `done` on the store thread.
  void evict(std::vector<ChunkPtr> chunks,
             UniqueFunction<void(std::uint64_t chunks, std::uint64_t bytes)> done);
  /// Writes down what is known of a version (freshness, current or not) if it is on disk.
  void note(VersionPtr version);
  /// Enters what the manifest had. Before start() only.
  void adopt_loaded(const VersionPtr& version, ChunkRecord record);
  void adopt_directory(const VersionPtr& version);
  /// Evicts until the ledger's limit holds (the limit may have been lowered). Before start().
  void shrink_to_limit();
  /// Waits for writes under way, writes the manifest's clean mark, ends the thread. Pieces that
  /// come later are dropped. After all origins are stopped.
  void stop();

 private:
  struct Job {
    VersionPtr version;
    std::shared_ptr<Piece> piece;
    std::uint64_t charge = 0;
  };
  void begin(Job job);
  void finish(Job job, Result<std::uint64_t> disk_bytes);
  void drop(const Job& job, const Error& error);
  void leave_out(const Job& job);
  bool may_be_kept(const Job& job);
  bool leaves_floor(std::uint64_t bytes);
  bool reserve(std::uint64_t bytes);
  bool evict_one();
  void enter(const ChunkPtr& chunk, bool read_ahead);
  void end_grace();
  void trim_soon();
  void trim();
  bool wants_trim();
  void look_after_disk();
  void probe();
  void remove(Chunk& chunk, const char* why);
  void make_room_after(const Error& error);
  Result<void> ensure_directory(Version& version);
  void forget_if_empty(const VersionPtr& version);
  void flush_soon();
  void flush();
  void account_manifest();
  Result<void> checkpoint();

  Parts parts_;
  ChunkWriter* writer_ = nullptr;
  std::function<std::vector<VersionPtr>()> all_versions_;
  Counter& evicted_chunks_;
  Counter& evicted_bytes_;
  Counter& faults_;
  Counter& left_out_bytes_;
  Gauge& chunks_;
  const std::int64_t look_after_ms_;
  const Watermarks marks_;
  FreeSpace free_space_;
  ReadAheadGrace grace_;
  SetAside set_aside_;
  std::set<std::pair<VersionId, std::uint64_t>> writing_;
  std::uint64_t manifest_charge_ = 0;
  std::uint64_t undeleted_ = 0;  ///< files that eviction could not delete
  bool started_ = false;
  bool flush_posted_ = false;
  bool trim_posted_ = false;
  bool trimming_ = false;  ///< above the high mark, on the way to the low one
  bool stopping_ = false;
  std::int64_t last_fault_logged_ns_ = 0;
  EventLoop loop_;  // last: its thread uses everything above
};

}  // namespace rangecache::cache
