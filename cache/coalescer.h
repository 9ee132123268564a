#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/origin.h"
#include "cache/buffer_pool.h"
#include "cache/flight.h"
#include "cache/read.h"
#include "cache/read_plan.h"
#include "rangecache/byte_range.h"

namespace rangecache::cache {

/// What the caller of a Coalescer has to do once it let go of its lock.
struct Effects {
  struct ChunkWanted {
    ReadPtr read;
    ChunkPtr chunk;
    ByteRange part;
  };
  struct Finished {
    ReadPtr read;
    Result<Slices> result;
  };
  std::vector<FlightPtr> start;  ///< ask the origin for flight->range
  std::vector<std::shared_ptr<Transfer>> cancel;
  std::vector<std::shared_ptr<Transfer>> promote;  ///< a reader waits for what was read-ahead
  std::vector<std::shared_ptr<Piece>> store;       ///< sealed; answer with piece_stored/_dropped
  std::vector<ChunkWanted> open;                   ///< answer with chunk_ready/chunk_failed
  std::vector<ChunkWanted> used;                   ///< count as used: memory had their bytes, too
  std::vector<Finished> finished;                  ///< call the reader back
  /// What a read or flight held that ended early. To be dropped without the lock: memory that is
  /// given back resumes transfers.
  std::vector<std::shared_ptr<const void>> released;
  bool changed = false;  ///< the origin has another version now

  bool empty() const {
    return start.empty() && cancel.empty() && promote.empty() && store.empty() && open.empty() &&
           used.empty() && finished.empty() && !changed;
  }
};

/// Counts of bytes by how they were answered, for the metrics.
struct ReadBytes {
  std::uint64_t chunk = 0;      ///< from disk
  std::uint64_t memory = 0;     ///< from a piece that another flight had brought
  std::uint64_t coalesced = 0;  ///< waited for a flight that was under way already
  std::uint64_t missed = 0;     ///< started a flight
};

/// All that is known of the bytes of ONE version, and who waits for them: the state behind
/// promises 4 (each byte in flight once) and 5 (waiters outlive leaders).
///
/// Pure: no I/O, no lock, no clock, no thread. The caller (Version) serialises all calls by its
/// lock and carries out the Effects afterwards. So one seed gives one history in tests.
class Coalescer {
 public:
  struct Options {
    std::uint64_t size = 0;                   ///< of the object
    bool single_response = false;             ///< no validator: what is lost cannot be fetched
    std::uint64_t minimum_fetch = 32 * 1024;  ///< a gap is widened to this where it is free
    std::uint64_t part_size = kPieceSize;     ///< larger gaps are fetched in parallel parts
  };
  explicit Coalescer(Options options) : options_(options) {}
  ~Coalescer();

  /// The chunks that answer all of `range`, in order; empty if anything else is needed.
  std::vector<Effects::ChunkWanted> cached(ByteRange range) const;

  /// Plans a read (its range lies within the object and is not empty).
  ReadBytes begin_read(const ReadPtr& read, Effects& effects);
  /// The reader gives up. No flight is cancelled: its bytes are kept.
  void cancel_read(const ReadPtr& read, Effects& effects);
  void chunk_ready(const ReadPtr& read, ByteRange part, Slice slice, Effects& effects);
  /// The chunk's file is gone or bad; the caller has removed it. The part is planned again.
  void chunk_failed(const ReadPtr& read, ByteRange part, Effects& effects);

  /// Starts flights for what nobody has or fetches of `range`.
  void prefetch(ByteRange range, Effects& effects);

  /// A fetch that was begun before the version was known: makes it a flight. nullptr if some of
  /// `range` is here or under way already; the fetch is then not wanted.
  FlightPtr adopt(ByteRange range, Priority priority);

  /// False: the flight is abandoned, drop the connection.
  bool flight_head(const FlightPtr& flight, const FetchHead& head, Effects& effects);
  enum class Append { kTaken, kNoMemory, kNotWanted };
  /// kNoMemory: pause the transfer and offer the same bytes again when the pool has memory.
  /// kNotWanted: end the transfer.
  Append flight_data(const FlightPtr& flight, std::span<const std::byte> data, BufferPool& pool,
                     Effects& effects);
  void flight_done(const FlightPtr& flight, const Result<void>& result, Effects& effects);

  /// The piece's bytes stand in `chunk` now, too. True: readers have not had all of it, and find it
  /// in memory until they have, or piece_dropped() is called. False: it is forgotten.
  bool piece_stored(const Piece& piece, ChunkPtr chunk, Effects& effects);
  /// The piece's bytes in memory are forgotten: readers whose read is over may keep them, those
  /// that wait do not. For this and piece_stored() the caller has a reference to the piece, and
  /// lets go of it without the lock.
  void piece_dropped(const Piece& piece, Effects& effects);

  /// Nothing of `range` is on disk, in memory or under way.
  bool is_gap(ByteRange range) const;
  /// While readers and flights are there, only into a gap, or in the place of what covered it.
  void insert_chunk(ChunkPtr chunk);
  /// False if it was not in the tree (removed before).
  bool remove_chunk(Chunk& chunk);

  const ChunkTree& chunks() const { return chunks_; }
  const FlightMap& flights() const { return flights_; }
  const PieceMap& pieces() const { return pieces_; }
  bool sequential_only() const { return sequential_only_; }

 private:
  void plan_part(const ReadPtr& read, ByteRange range, Effects& effects, ReadBytes* bytes);
  static void serve(Read::Part& part, const std::shared_ptr<Piece>& piece);
  static void note_waiting(const ReadPtr& read, Read::Part& part);
  void forget_used_up(const Piece& piece, Effects& effects);
  void free_memory(Piece& piece, Effects& effects) const;
  void wait_for(const ReadPtr& read, ByteRange range, const FlightPtr& flight);
  void start_flights(ByteRange gap, Priority priority, Effects& effects);
  ByteRange widen(ByteRange gap, Priority priority) const;
  FlightPtr add_flight(ByteRange range, Priority priority);
  void become_whole_body(const FlightPtr& flight, Effects& effects);
  bool ensure_piece(Flight& flight, BufferPool& pool);
  std::uint64_t covered_until(std::uint64_t offset) const;
  void advance_waiters(const FlightPtr& flight, Effects& effects);
  void release_filling(Flight& flight, bool whole, Effects& effects);
  void finish_if_ready(const ReadPtr& read, Effects& effects);
  void fail(const ReadPtr& read, const Error& error, Effects& effects);

  const Options options_;
  ChunkTree chunks_;
  PieceMap pieces_;
  FlightMap flights_;
  bool sequential_only_ = false;
};

}  // namespace rangecache::cache
