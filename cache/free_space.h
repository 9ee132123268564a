#pragma once

#include <cstdint>
#include <string>

#include "base/clock.h"
#include "base/file_system.h"
#include "base/metrics.h"

namespace rangecache::cache {

/// The floor of free disk space: what the cache leaves to others on the file system that it is
/// on, whatever its own limit says.
///
///     free:   0 ......... floor ...... floor + margin ..............
///               give way    |  as it is  |  all is well
///
/// The system is asked at most once a second, or once what was begun since might have reached
/// the floor. A file system that cannot be asked counts as roomy: a full one says so with ENOSPC.
/// The store thread's. Sizes in bytes.
class FreeSpace {
 public:
  /// `floor` 0: there is none.
  FreeSpace(FileSystem& files, std::string directory, std::uint64_t floor, const Clock& clock,
            Metrics& metrics);

  /// Asks the system now.
  void look();
  /// Below the floor: nothing new may be kept. Changes are logged once.
  bool below() const { return below_; }
  /// How much must be given back until all is well; 0 unless below.
  std::uint64_t missing() const;
  /// How much must be evicted first, so that `bytes` more leave the floor alone.
  std::uint64_t missing_for(std::uint64_t bytes);

  /// A write of so many bytes begins; finished() must follow with the same number, `kept` if they
  /// stand on disk now.
  void begin(std::uint64_t bytes);
  void finished(std::uint64_t begun, bool kept);
  /// So many bytes were deleted. A guess (the file may still be open), until the next look().
  void deleted(std::uint64_t bytes) { free_ += bytes; }

 private:
  std::uint64_t margin() const;

  FileSystem& files_;
  const std::string directory_;
  const std::uint64_t floor_;
  const Clock& clock_;
  Gauge& free_gauge_;
  Gauge& below_gauge_;
  std::uint64_t free_ = UINT64_MAX / 2;  ///< less what is being written
  std::uint64_t pending_ = 0;
  std::int64_t looked_at_ns_ = INT64_MIN;
  bool below_ = false;
};

}  // namespace rangecache::cache
