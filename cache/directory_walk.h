#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cache/read_ahead.h"

namespace rangecache::cache {

/// Watches which files of one listing are opened, and says which to fetch before they are. The
/// files lie end to end, as if they were one, and ReadAhead tells the rest:
///
///     listing   | a | b |  c  | d | e |  f  | g |
///     opened      1   2    3
///     fetched                   +   +    +        up to four times what was read
///
/// A guess costs credit, and a file that is opened after it was fetched earns four times as much:
/// where most guesses are wrong they soon end; where they would have been right they begin again.
///
/// Pure; the caller serialises.
class DirectoryWalk {
 public:
  /// What a file counts at least: what a request takes of the link's time.
  static constexpr std::uint64_t kRequestWeight = 64 << 10;
  /// What a file counts at most. Larger ones are not fetched: their own read-ahead is for them.
  static constexpr std::uint64_t kSmallFile = 1 << 20;
  static constexpr int kFirstCredit = 32;
  static constexpr int kMaxCredit = 256;
  static constexpr int kEarned = 4;

  /// `sizes`: of the listing's entries, in order; kNotFetched for what is no small file.
  static constexpr std::uint64_t kNotFetched = UINT64_MAX;
  explicit DirectoryWalk(const std::vector<std::uint64_t>& sizes, std::uint64_t max_window);

  /// The entry is opened. `useful`: what was fetched of it before, if anything, is served without
  /// asking the origin; once it is not, this walk fetches no more. Returns the entries to fetch
  /// now, mostly none.
  std::vector<std::size_t> opened(std::size_t index, bool useful);

 private:
  enum class Guess : std::uint8_t { kNone, kNeverFetch, kFetched, kHeldBack };
  ByteRange place_of(std::size_t index) const;

  std::vector<std::uint64_t> ends_;  ///< where each entry ends, laid end to end
  std::vector<Guess> guesses_;
  ReadAhead read_ahead_;
  int credit_ = kFirstCredit;
  bool useless_ = false;
};

}  // namespace rangecache::cache
