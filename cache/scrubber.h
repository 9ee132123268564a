#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/metrics.h"
#include "base/mutex.h"
#include "cache/catalog.h"
#include "cache/chunk_store.h"
#include "cache/storer.h"
#include "rangecache/types.h"

namespace rangecache::cache {

/// Reads what is cached against its checksums, before a reader meets damage: in rounds in the
/// background, at a set rate, and on demand. On a thread of its own ("rc-scrub"), through
/// descriptors of its own, so that it neither displaces those of readers nor counts as a use.
///
/// An object that has come whole is compared with the checksum that its origin told.
///
/// A bad chunk leaves the index and the disk at once, is counted and logged with its object and
/// range, and is fetched again by its next reader. (Pages that the kernel holds are read from
/// there: a medium that rots under them is found when they have gone.)
class Scrubber {
 public:
  struct Options {
    std::uint64_t bytes_per_second = 4 << 20;  ///< of the background rounds; 0: none
    std::chrono::milliseconds round_interval{std::chrono::hours(1)};  ///< from start to start
  };
  using Wanted = std::function<bool(const Version&)>;

  Scrubber(ChunkStore& store, Storer& storer, Catalog& catalog, Metrics& metrics, Options options);
  ~Scrubber();
  /// Ends the thread, within a chunk if need be; requests under way get kShuttingDown. Before the
  /// storer's stop. Idempotent.
  void stop() EXCLUDES(mu_);

  /// Verifies the next chunks of the versions that `wanted` picks, at full speed, from `cursor` on
  /// ("" at first, then VerifyPart::next): about kPartBytes, so that the asker sees progress and
  /// may stop. With `repair` the ranges of bad chunks are fetched again before the answer.
  /// kInvalidArgument: no such cursor. Any thread.
  void verify(Wanted wanted, bool repair, std::string cursor, Callback<VerifyPart> done)
      EXCLUDES(mu_);
  static constexpr std::uint64_t kPartBytes = 64 << 20;

  /// Compares a version that is whole with its origin's digest, soon; drops its bytes if they
  /// differ. Any thread.
  void compare_whole(VersionPtr version, Digest digest) EXCLUDES(mu_);

 private:
  struct Request {
    Wanted wanted;
    bool repair;
    VersionId version;
    std::uint64_t offset;
    Callback<VerifyPart> done;
  };
  using Time = std::chrono::steady_clock::time_point;

  void run();
  void answer(Request request);
  bool scrub_next();
  bool wait_until(Time at) EXCLUDES(mu_);
  bool is_good(const ChunkPtr& chunk);
  struct Whole {
    VersionPtr version;
    Digest digest;
  };
  void compare(const Whole& whole);
  /// nullopt: it is not whole any more, cannot be read, or it is time to stop.
  std::optional<std::string> digest_of(const Version& version, Digest::Kind kind);

  ChunkStore& store_;
  Storer& storer_;
  Catalog& catalog_;
  const Options options_;
  Counter& faults_;
  Counter& bytes_;
  Counter& rounds_;
  Counter& wholes_right_;
  Counter& wholes_wrong_;

  // The thread's: where the background round is.
  std::vector<VersionPtr> round_;
  std::uint64_t offset_ = 0;  ///< in the last version of `round_`
  Time round_started_{};
  Time next_chunk_at_{};

  Mutex mu_;
  CondVar changed_;
  std::deque<Request> requests_ GUARDED_BY(mu_);
  std::deque<Whole> wholes_ GUARDED_BY(mu_);
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace rangecache::cache
