#pragma once

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

/// What opening a manifest found.
struct LoadReport {
  std::uint64_t records = 0;
  std::uint64_t bytes_dropped = 0;  ///< damaged, or cut off by a crash
  std::string problem;              ///< empty, or what a person should know
  bool clean_stop = false;  ///< closed in order, and nothing dropped: no chunk file is unknown
  bool same_boot = false;   ///< ... in this boot: what it names was not lost with the power
};

class CheckpointSink;

/// The record of what is in the cache: a checkpoint plus a journal, per generation.
///
///     manifest/checkpoint.7  [header ... all versions and chunks ... end]
///     manifest/journal.7     [header, what happened since ... (clean stop)]
///
/// checkpoint() writes generation 8 beside it; generation 7 goes when 8 is complete, and 8 counts
/// only when it is. The journal is written with one write() a flush and not synced: it survives the
/// death of the process. After a power cut its tail may be missing or damaged, which the checksums
/// show; chunks are proved by their own checksums in any case.
///
/// NOT thread-safe: it belongs to the store thread.
class Manifest {
 public:
  class Visitor {
   public:
    virtual ~Visitor() = default;
    virtual void on_version(VersionRecord&& record) = 0;
    virtual void on_version_removed(const VersionId& id) = 0;
    virtual void on_chunk(ChunkRecord&& record) = 0;
    virtual void on_chunk_removed(const VersionId& id, ByteRange range) = 0;
  };

  /// Reads what is there, front to back, and opens a fresh generation for what is to come. Damage
  /// is never an error: what is proved is kept, the rest reported. Nor is a disk that takes no
  /// journal now: see flush().
  static Result<std::unique_ptr<Manifest>> open(FileSystem& files, std::string cache_directory,
                                                Visitor& visitor, LoadReport& report);

  /// Buffered until flush().
  void append_version(const VersionRecord& record);
  void append_version_removed(const VersionId& id);
  void append_chunk(const ChunkRecord& record);
  void append_chunk_removed(const VersionId& id, ByteRange range);
  /// After a failure the journal takes nothing more until the next checkpoint, so that no record
  /// can follow a torn one.
  Result<void> flush();

  /// Looks whether the journal still has its name: who removes it breaks it.
  void notice_loss();
  /// The journals have outgrown the checkpoint, or are broken or were found damaged.
  bool wants_checkpoint() const;
  /// Writes a new generation with what `dump` gives it.
  Result<void> checkpoint(const std::function<void(CheckpointSink&)>& dump);
  /// Flushes and, if `clean`, writes the mark that lets the next start trust that nothing is
  /// missing.
  Result<void> close(bool clean);

  /// What its files take on disk.
  std::uint64_t disk_bytes() const;

 private:
  friend class CheckpointSink;
  Manifest(FileSystem& files, std::string directory)
      : files_(files), directory_(std::move(directory)) {}

  std::string path(const char* kind, std::uint64_t generation) const;
  std::uint64_t load(const std::vector<FileSystem::Entry>& entries, Visitor& visitor,
                     LoadReport& report);
  bool load_file(const std::string& path, std::uint64_t generation, Visitor& visitor,
                 LoadReport& report, bool checkpoint);
  Result<void> start_journal(std::uint64_t generation);
  void remove_generations_before(std::uint64_t generation);

  FileSystem& files_;
  const std::string directory_;
  std::uint64_t generation_ = 0;
  UniqueFd journal_;
  std::uint64_t journal_size_ = 0;
  std::uint64_t checkpoint_size_ = 0;
  std::uint64_t earlier_journals_ = 0;  ///< on disk, since the checkpoint; not the one written
  bool broken_ = false;
  bool damaged_ = false;  ///< what was loaded is: a checkpoint has to replace it
  std::string buffer_;
};

/// Takes the whole state during Manifest::checkpoint(), in large writes.
class CheckpointSink {
 public:
  void version(const VersionRecord& record);
  void chunk(const ChunkRecord& record);

 private:
  friend class Manifest;
  CheckpointSink(FileSystem& files, int fd, std::uint64_t generation)
      : files_(files), fd_(fd), generation_(generation) {}
  void write_out();

  FileSystem& files_;
  const int fd_;
  const std::uint64_t generation_;
  std::string buffer_;
  std::uint64_t written_ = 0;
  std::uint64_t records_ = 0;
  Result<void> result_;
};

}  // namespace rangecache::cache
