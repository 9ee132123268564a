#pragma once

#include <memory>
#include <utility>

#include "base/clock.h"
#include "base/read_ticket.h"
#include "cache/cache.h"

namespace rangecache::daemon {

/// One open handle's way of reading: the read itself first, then what the pattern of the object's
/// reads says will be wanted next. Front ends share it. Thread-safe.
class Reader {
 public:
  Reader(cache::SnapshotPtr snapshot, cache::Cache& cache)
      : snapshot_(std::move(snapshot)),
        read_ahead_(snapshot_->read_ahead(cache.read_ahead_options(*snapshot_->address().origin))),
        clock_(cache.clock()) {
    cache.directory_read_ahead().opened(*snapshot_);
  }

  const cache::SnapshotPtr& snapshot() const { return snapshot_; }

  ReadTicket read(ByteRange range, Callback<Slices> done) {
    ReadTicket ticket = snapshot_->read(range, std::move(done));
    const cache::VersionPtr version = snapshot_->version();
    for (const ByteRange ahead : read_ahead_->next(range, conditions(version.get()))) {
      snapshot_->prefetch(ahead);
      if (version && ahead.size() <= kMostWarmed) version->warm(ahead);
    }
    return ticket;
  }

 private:
  /// A whole database that is fetched is on its way in or stands in files: no more is read of
  /// those.
  static constexpr std::uint64_t kMostWarmed = cache::ReadAhead::kUsualWindow;

  cache::ReadConditions conditions(const cache::Version* version) const {
    if (!version) return {};
    return {version->size(), clock_.monotonic_ns(), version->part_ns()};
  }

  const cache::SnapshotPtr snapshot_;
  const std::shared_ptr<cache::SharedReadAhead> read_ahead_;
  const Clock& clock_;
};

}  // namespace rangecache::daemon
