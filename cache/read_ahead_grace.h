#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <unordered_map>

#include "base/clock.h"
#include "cache/chunk.h"

namespace rangecache::cache {

/// Where chunks wait that a read-ahead has brought and no reader has used yet. The eviction policy
/// does not know them, so that a cache under pressure does not throw away what is about to be
/// read. They leave in order, to the policy: once used, after kGrace, or when newer ones need
/// their room; so read-ahead that nobody wants holds `max_bytes` for kGrace at most.
///
/// The store thread's. Holds references, not charges.
class ReadAheadGrace {
 public:
  static constexpr std::int64_t kGrace_ns = 15'000'000'000;

  ReadAheadGrace(const Clock& clock, std::uint64_t max_bytes)
      : clock_(clock), max_bytes_(max_bytes) {}

  /// `chunk` must be in no policy; its bytes are set.
  void add(ChunkPtr chunk);
  /// False if it is not here.
  bool remove(Chunk& chunk);
  /// The next one to hand to the policy; null if all may stay. With `force`, the oldest.
  ChunkPtr leave(bool force = false);
  std::uint64_t bytes() const { return bytes_; }

 private:
  struct Waiting {
    ChunkPtr chunk;
    std::int64_t until_ns;
  };

  const Clock& clock_;
  const std::uint64_t max_bytes_;
  std::list<Waiting> queue_;
  std::unordered_map<const Chunk*, std::list<Waiting>::iterator> by_chunk_;
  std::uint64_t bytes_ = 0;
};

}  // namespace rangecache::cache
