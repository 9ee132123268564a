#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "cache/piece.h"
#include "cache/version.h"

namespace rangecache::cache {

/// A piece on its way to the disk.
struct PieceWrite {
  VersionPtr version;
  std::shared_ptr<Piece> piece;
  std::uint64_t charge = 0;             ///< of the ledger; 0 until it has room
  std::shared_ptr<const void> counted;  ///< among what is not written, as long as a copy lives
};

/// Pieces that wait for the disk. So much is with the writer at a time, and the rest waits here,
/// where it can still be given up: when the disk has been behind for a second, readers would wait
/// for it instead of the origin, and so what they have had already is not kept.
///
///     memory  1/2 |       ..........          for a second: behind
///                 |     ./          \.
///             1/4 |   ./              \.      caught up
///
/// What was read ahead and waits for its reader is always kept. NOT thread-safe.
class WriteQueue {
 public:
  WriteQueue(std::uint64_t memory_bytes, const Clock& clock, Metrics& metrics);

  void push(PieceWrite write);
  /// The next one for the writer; nullopt if none waits, or enough is with it. To be answered with
  /// done().
  std::optional<PieceWrite> next();
  /// Written, or not to be written.
  void done(const PieceWrite& write);
  /// What is given up now; mostly nothing.
  std::vector<PieceWrite> give_up();
  bool behind() const { return behind_; }
  std::uint64_t backlog_bytes() const { return waiting_bytes_ + writing_bytes_; }
  /// From now on all goes to the writer.
  void drain() { draining_ = true; }

 private:
  void look();
  static std::uint64_t size_of(const PieceWrite& write) { return write.piece->filled().size(); }

  const std::uint64_t memory_bytes_;
  const std::uint64_t max_writing_;
  const Clock& clock_;
  Gauge& behind_gauge_;
  std::deque<PieceWrite> waiting_;
  std::uint64_t waiting_bytes_ = 0;
  std::uint64_t writing_bytes_ = 0;
  std::optional<std::int64_t> full_since_ns_;
  bool behind_ = false;
  bool draining_ = false;
};

}  // namespace rangecache::cache
