#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "base/read_ticket.h"
#include "base/slice.h"
#include "cache/buffer_pool.h"
#include "cache/coalescer.h"
#include "cache/records.h"

namespace rangecache::cache {

class OpenChunks;
class Storer;
class Version;

/// What all versions share. Owned by the Cache; outlives them.
struct VersionContext {
  std::shared_ptr<BufferPool> pool;
  OpenChunks& open_chunks;
  Storer& storer;
  const Clock& clock;
  Counter& read_requests;
  Counter& read_bytes;
  Counter& hit_bytes;
  Counter& memory_hit_bytes;
  Counter& miss_bytes;
  Counter& coalesced_bytes;
  Counter& stale_reads;
  Counter& cache_faults;
  Gauge& flights;
  Gauge& passthrough_files;
  Histogram& read_seconds;
  /// The origin no longer has this version (412, or another validator in an answer).
  std::function<void(const std::shared_ptr<Version>&)> changed;
};

/// One version of one object: the unit that bytes belong to. Knows which of its bytes are on
/// disk, in memory or under way, and who waits for them: a Coalescer under a lock, and the hands
/// that carry out what it decides. Thread-safe; no lock is held over I/O or a callback.
class Version : public std::enable_shared_from_this<Version> {
 public:
  Version(const VersionContext& context, std::shared_ptr<Origin> origin, VersionRecord record,
          bool no_store);

  const VersionId& id() const { return identity_.id; }
  const std::string& key() const { return identity_.key; }
  const Validator& validator() const { return identity_.validator; }
  std::uint64_t size() const { return identity_.size; }
  std::int64_t modified_s() const { return identity_.modified_s; }
  /// Identity and what was last heard of it, as it is written down.
  VersionRecord record() const EXCLUDES(mu_);
  /// The origin was heard of this version (or, with current = false, of a newer one).
  struct Heard {
    std::int64_t validated_s = 0;
    std::int64_t fresh_until_s = 0;  ///< Unix seconds; 0: to be asked for, whatever the policy
    std::uint32_t stale_while_revalidate_s = 0;  ///< see Freshness
    std::uint32_t stale_if_error_s = 0;
    bool must_revalidate = false;
    bool current = false;
  };
  static Heard heard_in(const VersionRecord& record);
  Heard heard() const EXCLUDES(mu_);
  void set_heard(Heard heard) EXCLUDES(mu_);
  void set_digest(Digest digest) EXCLUDES(mu_);
  /// What is to be compared once the version is whole; kNone if nothing is known, or it was given
  /// out already.
  Digest take_digest() EXCLUDES(mu_);
  const std::shared_ptr<Origin>& origin() const { return origin_; }
  std::string url() const { return origin_->url_of(identity_.key); }
  bool no_store() const { return no_store_; }

  /// `range` must lie within the object and not be empty.
  ReadTicket read(ByteRange range, Callback<Slices> done);
  /// The same for a read that was made before its version was known.
  void begin(const ReadPtr& read);
  void cancel(const ReadPtr& read);
  void prefetch(ByteRange range);
  /// Lets the kernel read from the disk what is cached of it; for the threads of readers.
  void warm(ByteRange range) EXCLUDES(mu_);
  /// The object as one slice of one chunk file that holds nothing else, each block of it proved
  /// since the start; nullopt if it is not so (yet). Such a file may be read without asking again.
  /// Counted as long as the slice lives.
  std::optional<Slice> whole_file() EXCLUDES(mu_);
  /// A part of the object in a chunk file, each block of it proved since the start.
  struct FilePart {
    ByteRange range;
    Slice slice;
  };
  /// At most `limit` of them, in order and without gaps; the first contains `offset`, and each is
  /// as long as can be. Empty if that byte is in no file, or was not read since the start. Nothing
  /// is fetched, and no bytes are read. Counts as one use of each chunk.
  std::vector<FilePart> file_parts(std::uint64_t offset, std::size_t limit) EXCLUDES(mu_);
  /// How long a fetch of a piece or more took of late, from asking for it until all of it was
  /// there; 0: there was none.
  std::int64_t part_ns() const { return part_ns_.load(std::memory_order_relaxed); }
  /// How many slices of whole_file() there are.
  std::int64_t passthrough_opens() const { return passthrough_opens_.load(); }

  /// Makes a fetch that was begun before the version was known one of this version's flights:
  /// forward its calls (on_head included) to the sink. nullptr: its bytes are not wanted.
  struct Adopted {
    std::shared_ptr<FetchSink> sink;
    FlightPtr flight;
  };
  Adopted adopt(ByteRange range, Priority priority);
  void attach(const FlightPtr& flight, std::shared_ptr<Transfer> transfer);

  // For the store thread.
  bool piece_stored(const Piece& piece, ChunkPtr chunk) EXCLUDES(mu_);  ///< see Coalescer
  void piece_dropped(const Piece& piece) EXCLUDES(mu_);
  void insert_chunk(ChunkPtr chunk) EXCLUDES(mu_);
  /// Only if nothing of its range is on disk, in memory or under way. True if it is in the tree.
  bool insert_in_gap(ChunkPtr chunk) EXCLUDES(mu_);
  bool remove_chunk(Chunk& chunk) EXCLUDES(mu_);
  /// Puts `merged` in the place of `sources`, which cover its range. False, and nothing is done, if
  /// one of them is no longer there.
  bool replace_chunks(const std::vector<ChunkPtr>& sources, ChunkPtr merged) EXCLUDES(mu_);

  std::vector<ChunkPtr> chunks() const EXCLUDES(mu_);  ///< in order of begin
  /// At most `limit` of them, from the first that begins at `offset` or later.
  std::vector<ChunkPtr> chunks_from(std::uint64_t offset, std::size_t limit) const EXCLUDES(mu_);
  ChunkPtr chunk_at(std::uint64_t offset) const EXCLUDES(mu_);  ///< that has this byte; or null
  ChunkPtr chunk_of(ByteRange range) const EXCLUDES(mu_);       ///< exactly this one; or null
  bool has_chunk(ByteRange range) const { return static_cast<bool>(chunk_of(range)); }
  std::vector<ByteRange> flight_ranges() const EXCLUDES(mu_);
  std::uint64_t cached_bytes() const { return cached_bytes_.load(std::memory_order_relaxed); }

  /// The store thread's own notes.
  struct OnDisk {
    bool directory = false;
    std::uint32_t files = 0;  ///< chunks, and writes under way
    static constexpr std::uint8_t kNoGroup = 255;
    std::uint8_t group = kNoGroup;  ///< see EvictionGroups
  };
  OnDisk on_disk;

 private:
  class FlightSink;
  class PassthroughFile;
  friend class FlightSink;
  friend class PassthroughFile;

  void carry_out(Effects effects);
  void start_fetch(const FlightPtr& flight);
  void open_chunk(const Effects::ChunkWanted& wanted, Effects& next);
  void note_duration(const Flight& flight, std::int64_t ns) REQUIRES(mu_);
  void finish(Read& read, Result<Slices> result);
  bool read_cached(const Read& read, Slices& slices);
  FetchSink::Verdict take(const FlightPtr& flight, std::span<const std::byte> data);

  const VersionContext& context_;
  const std::shared_ptr<Origin> origin_;
  const VersionRecord identity_;  ///< only the fields that never change
  const bool no_store_;
  std::atomic<std::uint64_t> cached_bytes_{0};
  std::atomic<std::int64_t> passthrough_opens_{0};
  std::atomic<std::int64_t> part_ns_{0};

  mutable Mutex mu_;
  Heard heard_ GUARDED_BY(mu_);
  Digest digest_ GUARDED_BY(mu_);
  bool digest_taken_ GUARDED_BY(mu_) = false;
  Coalescer coalescer_ GUARDED_BY(mu_);
};
using VersionPtr = std::shared_ptr<Version>;

}  // namespace rangecache::cache
