#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "base/unique_fd.h"
#include "cache/records.h"
#include "cache/version_id.h"
#include "rangecache/byte_range.h"
#include "rangecache/result.h"

namespace rangecache::cache {

/// A chunk file as the walk over the disk finds it.
struct FoundChunk {
  VersionId version;
  ByteRange range;                   ///< as its name says
  std::uint64_t size = 0;            ///< of the file
  bool identity_matches = false;     ///< its extended attribute binds it to this name
  std::uint64_t whole_checksum = 0;  ///< XXH3-64 of its bytes, as the attribute says
};

/// The cache directory: where things stand, and that it is ours alone. Layout and names are
/// specified in docs/DISK_FORMAT.md. Thread-safe.
class ChunkStore {
 public:
  /// Makes the directory if need be, refuses one that is not safe to use (another owner, a
  /// symbolic link, writable by others, another format), locks it (kBusy: another daemon) and
  /// sweeps temporary files of an earlier run.
  static Result<std::unique_ptr<ChunkStore>> open(FileSystem& files, std::string directory);

  const std::string& directory() const { return directory_; }
  FileSystem& files() const { return files_; }
  std::string chunk_path(const VersionId& id, ByteRange range) const;
  /// A name in tmp/ that no other write has.
  std::string temp_path();

  /// Makes the version's directory and its `meta` file. Fine if they are there.
  Result<void> create_version(const VersionRecord& record);
  /// Makes just the directory (and objects/) again, should somebody have removed it.
  Result<void> restore_directory(const VersionId& id);
  /// Removes an empty version. What is missing already is fine.
  Result<void> remove_version(const VersionId& id);
  Result<VersionRecord> read_meta(const VersionId& id) const;

  /// Read-only. kCorrupt if the file has not the range's size.
  Result<UniqueFd> open_chunk(const VersionId& id, ByteRange range) const;
  Result<void> remove_chunk(const VersionId& id, ByteRange range);

  /// The text of the extended attribute that binds a chunk file to its identity.
  static std::string identity(const VersionId& id, ByteRange range, std::uint64_t whole_checksum);
  static constexpr const char* kIdentityAttribute = "user.rangecache.chunk";

  /// Walks objects/. Names that are not ours are left alone. An error is that of the first
  /// directory that cannot be read; the others are walked all the same.
  Result<void> scan(const std::function<void(const FoundChunk&)>& on_chunk,
                    const std::function<void(const VersionId&)>& on_version) const;
  /// Reads a found chunk whole; its block checksums if its bytes are what its identity says.
  Result<std::vector<std::uint32_t>> prove(const FoundChunk& found) const;

 private:
  ChunkStore(FileSystem& files, std::string directory)
      : files_(files), directory_(std::move(directory)) {}
  Result<void> check_directory();
  Result<void> take_lock();
  Result<void> check_format();
  Result<void> sweep_temporary();
  Result<void> write_meta(const VersionRecord& record);
  FoundChunk look_at(const VersionId& id, ByteRange range) const;
  std::string version_path(const VersionId& id) const;

  FileSystem& files_;
  const std::string directory_;
  UniqueFd lock_;
  std::atomic<std::uint64_t> next_temp_{1};
};

}  // namespace rangecache::cache
