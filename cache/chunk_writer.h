#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/file_system.h"
#include "base/origin.h"
#include "cache/chunk_store.h"
#include "cache/version_id.h"
#include "rangecache/byte_range.h"
#include "rangecache/result.h"

namespace rangecache::cache {

/// One chunk to be written.
struct ChunkWrite {
  VersionId version;
  ByteRange range;
  std::span<const std::byte> data;    ///< range.size() bytes
  std::shared_ptr<const void> owner;  ///< keeps `data` alive
  std::uint64_t checksum = 0;         ///< chunk_checksum() of `data`
  Callback<std::uint64_t> done;       ///< the disk space it takes, in bytes
};

/// Puts chunks on the disk: temp file, bytes, identity, rename. Nothing of a chunk is visible
/// under its name before all of it is there; a failure leaves nothing behind. With
/// Durability::kStrict it is on the disk, name and all, before `done`. Thread-safe.
/// `done` is called once, on the writer's own thread.
class ChunkWriter {
 public:
  virtual ~ChunkWriter() = default;
  virtual void write(ChunkWrite write) = 0;
  /// Returns when every write so far has called back.
  virtual void drain() = 0;
  virtual const char* name() const = 0;
};

enum class WriterKind { kAuto, kIoUring, kThreads };

/// kAuto: io_uring where the kernel lets us have it, else threads. The version's directory exists
/// when write() is called (ChunkStore::create_version).
Result<std::unique_ptr<ChunkWriter>> make_chunk_writer(ChunkStore& store, FileSystem& files,
                                                       WriterKind kind);

}  // namespace rangecache::cache
