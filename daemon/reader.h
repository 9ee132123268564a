#pragma once

#include <algorithm>
#include <memory>
#include <utility>

#include "base/read_ticket.h"
#include "cache/snapshot.h"

namespace rangecache::daemon {

/// One open handle's way of reading: the read itself first, then what the pattern of the object's
/// reads says will be wanted next. Front ends share it. Thread-safe.
class Reader {
 public:
  Reader(cache::SnapshotPtr snapshot, cache::ReadAhead::Options options)
      : snapshot_(std::move(snapshot)), read_ahead_(snapshot_->read_ahead(options)) {}

  const cache::SnapshotPtr& snapshot() const { return snapshot_; }

  ReadTicket read(ByteRange range, Callback<Slices> done) {
    ReadTicket ticket = snapshot_->read(range, std::move(done));
    for (const ByteRange ahead : read_ahead_->next(range)) snapshot_->prefetch(ahead);
    return ticket;
  }

 private:
  const cache::SnapshotPtr snapshot_;
  const std::shared_ptr<cache::SharedReadAhead> read_ahead_;
};

/// How far ahead may be read without crowding out what is wanted now.
inline cache::ReadAhead::Options read_ahead_options(std::uint64_t memory_bytes,
                                                    std::uint64_t cache_bytes) {
  cache::ReadAhead::Options options;
  options.max_window =
      std::min<std::uint64_t>({options.max_window, memory_bytes / 4, cache_bytes / 8});
  return options;
}

}  // namespace rangecache::daemon
