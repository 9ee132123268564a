#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "cache/manifest.h"
#include "cache/version.h"

namespace rangecache::cache {

ChunkRecord record_of(const Chunk& chunk);

/// A checkpoint in the making: what all versions have on disk goes to the writer, a slice at a
/// time, so that what else waits for the store thread gets its turn. Versions and chunks that come
/// or go meanwhile stand in the journal. The store thread's.
class CheckpointDump {
 public:
  CheckpointDump(std::unique_ptr<CheckpointWriter> writer, std::vector<VersionPtr> versions)
      : writer_(std::move(writer)), versions_(std::move(versions)) {}

  /// Writes one slice. False: there are no more, or the disk failed.
  bool go_on();
  /// The writer, to be handed back to the manifest, once the chunks that are in no tree are
  /// written.
  std::unique_ptr<CheckpointWriter> finish(const std::vector<ChunkPtr>& set_aside);

 private:
  static constexpr std::size_t kSlice = 8192;  ///< records: a few milliseconds

  std::unique_ptr<CheckpointWriter> writer_;
  const std::vector<VersionPtr> versions_;
  std::size_t next_ = 0;      ///< of the versions
  std::uint64_t offset_ = 0;  ///< within that one
};

}  // namespace rangecache::cache
