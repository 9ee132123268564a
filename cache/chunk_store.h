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

/// What a power cut may cost. Never a wrong byte: every block is proved before its first use after
/// a start, whatever the setting.
enum class Durability {
  kNone,    ///< what the kernel had not written yet; a clean stop syncs
  kBatch,   ///< what was stored in the last seconds
  kStrict,  ///< nothing: a chunk is synced, then renamed, then written down, synced too
};

/// The cache directory: where things stand, and that it is ours alone. Layout and names are
/// specified in docs/DISK_FORMAT.md. Thread-safe.
class ChunkStore {
 public:
  /// Makes the directory if need be, refuses one that is not safe to use (another owner, a
  /// symbolic link, writable by others, another format), locks it (kBusy: another daemon) and
  /// sweeps temporary files of an earlier run.
  static Result<std::unique_ptr<ChunkStore>> open(FileSystem& files, std::string directory,
                                                  Durability durability = Durability::kNone);

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

  Durability durability() const { return durability_; }
  /// With kStrict: brings the names in the version's directory to the disk.
  Result<void> sync_names(const VersionId& id);

  /// Read-only. kCorrupt if the file has not the range's size.
  Result<UniqueFd> open_chunk(const VersionId& id, ByteRange range) const;
  Result<void> remove_chunk(const VersionId& id, ByteRange range);

  /// The text of the extended attribute that binds a chunk file to its identity, with its
  /// chunk_checksum().
  static std::string identity(const VersionId& id, ByteRange range, std::uint64_t checksum);
  static constexpr const char* kIdentityAttribute = "user.rangecache.chunk";

  /// Lists objects/, version by version, until `on_version` says false. Names that are not ours are
  /// left alone. An error is that of the first directory that cannot be read; the others are
  /// listed all the same.
  using OnVersion = std::function<bool(const VersionId&, std::vector<ByteRange> chunks)>;
  Result<void> scan(const OnVersion& on_version) const;
  /// False: objects/ is empty, as in a new cache.
  bool has_versions() const;
  /// Whether the file has the chunk's size and its attribute binds it to this name: then it is
  /// worth proving. Reads no content.
  bool is_chunk(const VersionId& id, ByteRange range) const;
  /// Reads an open chunk file whole; its block checksums if its bytes are what its attribute says,
  /// kCorrupt if not.
  Result<std::vector<std::uint32_t>> prove(const VersionId& id, ByteRange range, int fd) const;

 private:
  ChunkStore(FileSystem& files, std::string directory, Durability durability)
      : files_(files), directory_(std::move(directory)), durability_(durability) {}
  Result<void> check_directory();
  Result<void> take_lock();
  Result<void> check_format();
  Result<void> sweep_temporary();
  Result<void> write_meta(const VersionRecord& record);
  Result<void> sync_directory(const std::string& path);
  std::string version_path(const VersionId& id) const;

  FileSystem& files_;
  const std::string directory_;
  const Durability durability_;
  UniqueFd lock_;
  std::atomic<std::uint64_t> next_temp_{1};
};

}  // namespace rangecache::cache
