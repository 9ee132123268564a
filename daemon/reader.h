#pragma once

#include <utility>

#include "base/mutex.h"
#include "base/read_ticket.h"
#include "cache/read_ahead.h"
#include "cache/snapshot.h"

namespace rangecache::daemon {

/// One open handle's way of reading: the read itself first, then what its pattern says will be
/// wanted next. Front ends share it. Thread-safe.
class Reader {
 public:
  explicit Reader(cache::ReadAhead::Options options) : read_ahead_(options) {}

  ReadTicket read(cache::Snapshot& snapshot, ByteRange range, Callback<Slices> done) {
    ReadTicket ticket = snapshot.read(range, std::move(done));
    ByteRange ahead;
    {
      MutexLock lock(mu_);
      ahead = read_ahead_.next(range);
    }
    if (!ahead.empty()) snapshot.prefetch(ahead);
    return ticket;
  }

 private:
  Mutex mu_;
  cache::ReadAhead read_ahead_ GUARDED_BY(mu_);
};

/// How far ahead may be read without crowding out what is wanted now.
inline cache::ReadAhead::Options read_ahead_options(std::uint64_t memory_bytes,
                                                    std::uint64_t cache_bytes) {
  cache::ReadAhead::Options options;
  options.max_window =
      std::min<std::uint64_t>({options.max_window, memory_bytes / 4, cache_bytes / 8});
  options.initial_window = std::min(options.initial_window, options.max_window);
  return options;
}

}  // namespace rangecache::daemon
