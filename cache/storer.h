#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/event_loop.h"
#include "base/metrics.h"
#include "cache/admission.h"
#include "cache/background_sync.h"
#include "cache/checkpoint_dump.h"
#include "cache/chunk.h"
#include "cache/chunk_store.h"
#include "cache/chunk_writer.h"
#include "cache/disk_breaker.h"
#include "cache/eviction_groups.h"
#include "cache/evictor.h"
#include "cache/free_space.h"
#include "cache/kept_pieces.h"
#include "cache/ledger.h"
#include "cache/manifest.h"
#include "cache/open_chunks.h"
#include "cache/set_aside.h"
#include "cache/version.h"
#include "cache/write_queue.h"

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
    EvictionGroups& groups;
    OpenChunks& open_chunks;
    DiskBreaker& breaker;
    FileSystem& files;
    const Clock& clock;
    Metrics& metrics;
    BackgroundSync* sync;  ///< may be null
  };
  struct Options {
    std::uint64_t keep_free_bytes = 0;   ///< the floor of free disk space; 0: none
    std::uint64_t memory_bytes = 0;      ///< what all pieces take at most
    std::int64_t look_after_ms = 1'000;  ///< how often it looks after the disk, in real time
    bool admit_second_use = false;       ///< see Admission
  };
  Storer(Parts parts, Options options);
  ~Storer();

  /// The writer is made after the storer because it needs its own threads; call before store().
  void start(ChunkWriter& writer, std::function<std::vector<VersionPtr>()> all_versions);

  /// How the version of an id is found; thread-safe. Set before start().
  void find_versions(std::function<VersionPtr(const VersionId&)> find) { find_ = std::move(find); }

  /// Takes a sealed piece to the disk, or drops it. Any thread.
  void store(VersionPtr version, std::shared_ptr<Piece> piece);
  /// The chunk's file is missing or bad: forget it, delete what is there. Any thread.
  void discard(ChunkPtr chunk);
  /// The chunk's file cannot be opened or read now: its bytes come from the origin for a while.
  /// The caller then removes it from its version. Any thread.
  void set_aside(ChunkPtr chunk, const Error& error);
  struct Evicted {
    std::uint64_t objects = 0, chunks = 0, bytes = 0;
  };
  /// Evicts all that these versions have on disk then (not what is in the making, but what is being
  /// merged), and calls `done` on the store thread.
  void evict(std::vector<VersionPtr> versions, UniqueFunction<void(Evicted)> done);
  /// Writes down what is known of a version (freshness, current or not) if it is on disk.
  void note(VersionPtr version);
  // For the thread that loads, before start().
  void adopt_directory(const VersionPtr& version);
  void adopt_chunk(const VersionPtr& version, const ChunkRecord& record);
  /// Undo that: later records of the manifest say that it is gone.
  void unload_chunk(Chunk& chunk);
  void unload_version(const VersionPtr& version);
  /// Evicts until the limits hold (they may have been lowered).
  void shrink_to_limits() { evictor_.shrink_to_limits(); }
  /// Files of `bytes` at most may stand on the disk that the index does not know. Until
  /// walk_done() new chunks are kept only if there is room for those, too (promise 7).
  void expect_strays(std::uint64_t bytes);

  /// Reserves room for a chunk that is to be made of others, without evicting for it; false if
  /// there is none. Then end_merge(), with the chunk, whose file has its name, and what it is made
  /// of, or with null. False: it was not put in their place, and its file is gone. Any thread but
  /// this one's; they wait.
  bool begin_merge(const VersionPtr& version, ByteRange range);
  bool end_merge(const VersionPtr& version, ByteRange range, ChunkPtr merged,
                 std::vector<ChunkPtr> sources);
  /// Called on the store thread when a version got a new chunk. Set before start().
  void on_stored(std::function<void(const VersionPtr&)> listener) {
    on_stored_ = std::move(listener);
  }

  /// What the walk over the disk found of one version.
  struct Strays {
    VersionId id;
    std::vector<ByteRange> chunks;             ///< that looked unknown, and worth adopting
    std::vector<ByteRange> worthless;          ///< that looked unknown: to be removed
    std::function<VersionPtr()> make_version;  ///< from its `meta`; null if nobody can ask for it
  };
  /// Adopts or removes, whatever is true at this moment. Any thread; waits until it is done.
  /// False: the storer stops.
  bool reconcile(Strays strays);
  /// `complete`: every directory was read.
  void walk_done(bool complete);

  /// Waits for writes under way, writes the manifest's clean mark, ends the thread. Pieces that
  /// come later are dropped. After all origins are stopped.
  void stop();

 private:
  bool replace(const VersionPtr& version, const ChunkPtr& merged,
               const std::vector<ChunkPtr>& sources);
  void work_off();
  bool begin(PieceWrite job);
  void finish(PieceWrite job, Result<std::uint64_t> disk_bytes);
  void enter_written(PieceWrite job, Result<std::uint64_t> disk_bytes);
  void drop(const PieceWrite& job, const Error& error);
  void leave_out(const PieceWrite& job);
  void shrink_kept_pieces();
  bool may_be_kept(const PieceWrite& job);
  bool is_admitted(const PieceWrite& job);
  void turn_away(const PieceWrite& job);
  void trim_soon();
  void look_after_disk();
  void restore_set_aside(bool all);
  void probe();
  bool remove(Chunk& chunk, const char* why);
  void delete_file(Chunk& chunk, const char* why);
  void make_room_after(const Error& error);
  Result<void> ensure_directory(Version& version);
  void forget_if_empty(const VersionPtr& version);
  void flush_soon();
  void flush();
  void account_manifest();
  Result<void> begin_checkpoint();
  void continue_checkpoint();
  void settle(const Strays& strays);
  void enter(const ChunkPtr& chunk);

  Parts parts_;
  ChunkWriter* writer_ = nullptr;
  std::function<std::vector<VersionPtr>()> all_versions_;
  std::function<VersionPtr(const VersionId&)> find_;
  Counter& corrupt_chunks_;
  Counter& faults_;
  Counter& left_out_bytes_;
  Gauge& unwritten_bytes_;
  Counter& not_admitted_bytes_;
  Gauge& pinned_gauge_;
  Gauge& walk_gauge_;
  const std::int64_t look_after_ms_;
  FreeSpace free_space_;
  Evictor evictor_;
  WriteQueue writes_;
  const std::uint64_t memory_bytes_;
  KeptPieces kept_pieces_;
  std::optional<Admission> admission_;
  SetAside set_aside_;
  std::function<void(const VersionPtr&)> on_stored_;
  /// Names that files are about to get: no strays.
  std::multiset<std::tuple<VersionId, std::uint64_t, std::uint64_t>> writing_;
  std::uint64_t manifest_charge_ = 0;
  std::uint64_t undeleted_ = 0;              ///< files that eviction could not delete
  bool walking_ = false;                     ///< files that nobody counted may stand on the disk
  std::uint64_t adopted_ = 0, removed_ = 0;  ///< by the walk

  std::optional<CheckpointDump> dump_;  ///< a slice of it in each round of the loop
  bool started_ = false;
  bool flush_posted_ = false;
  bool work_off_posted_ = false;
  bool trim_posted_ = false;
  bool stopping_ = false;
  std::int64_t last_fault_logged_ns_ = 0;
  EventLoop loop_;  // last: its thread uses everything above
};

}  // namespace rangecache::cache
