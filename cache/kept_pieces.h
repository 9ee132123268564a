#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_set>

#include "base/clock.h"
#include "cache/piece.h"
#include "cache/version.h"

namespace rangecache::cache {

/// Pieces that stand on the disk already, but not all of whose bytes were read: they stay in
/// memory for a while, so that a stream does not read back from the disk what was written there
/// on its behalf a moment ago. The oldest go first. The store thread's.
class KeptPieces {
 public:
  static constexpr std::int64_t kStay_ns = 5'000'000'000;

  explicit KeptPieces(const Clock& clock) : clock_(clock) {}
  ~KeptPieces() { shrink_to(0); }
  KeptPieces(const KeptPieces&) = delete;
  KeptPieces& operator=(const KeptPieces&) = delete;

  void add(const VersionPtr& version, const std::shared_ptr<Piece>& piece);
  /// Drops the oldest until `max_bytes` of them or less are left, and those past their time.
  void shrink_to(std::uint64_t max_bytes);
  void drop_of(const std::unordered_set<const Version*>& versions);

 private:
  /// Weak: what readers have had is forgotten without us.
  struct Kept {
    std::weak_ptr<Version> version;
    std::weak_ptr<Piece> piece;
    std::uint64_t bytes;
    std::int64_t until_ns;
  };
  static void drop(const Kept& kept);

  const Clock& clock_;
  std::deque<Kept> queue_;
  std::uint64_t bytes_ = 0;
};

}  // namespace rangecache::cache
