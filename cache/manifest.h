#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
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
  bool same_boot = false;   ///< no power was lost since: what was written is there
};

class CheckpointWriter;

/// The record of what is in the cache: a checkpoint plus a journal, per generation.
///
///     manifest/checkpoint.7  [header ... all versions and chunks ... end]
///     manifest/journal.7     [header, what happened since checkpoint 7 was begun ... ]
///     manifest/journal.8     [header, what happened since ... (clean stop)]
///
/// A checkpoint is written bit by bit while the journal of its generation takes what happens
/// meanwhile: begin_checkpoint() begins journal 8, then the dump goes to checkpoint.new, and with
/// finish_checkpoint() it is checkpoint 8. The dump may hold what the journal repeats or undoes;
/// replaying the journal over it gives the state all the same. Until then 7 and both journals
/// count. One generation before the newest is kept, for when the newest proves damaged.
///
/// The journal is written with one write() a flush. Unless Options::sync it is not synced: it
/// survives the death of the process. After a power cut its tail may be missing or damaged, which
/// the checksums and the next journal's header show; chunks are proved by their own checksums in
/// any case.
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
    /// Forget everything so far: it came from a checkpoint that turned out to be damaged.
    virtual void on_reset() = 0;
  };
  struct Options {
    std::uint64_t min_journal_bytes = 1 << 20;  ///< smaller journals are not compacted
    bool sync = false;                          ///< each flush and checkpoint reaches the disk
  };

  Manifest(FileSystem& files, const std::string& cache_directory, Options options);
  ~Manifest();

  /// Reads what is there, front to back, and begins a journal for what is to come. Damage is never
  /// an error: what is proved is kept, the rest reported. Nor is a disk that takes no journal now:
  /// see recording().
  Result<LoadReport> open(Visitor& visitor);

  /// Buffered until flush().
  void append_version(const VersionRecord& record);
  void append_version_removed(const VersionId& id);
  void append_chunk(const ChunkRecord& record);
  void append_chunk_removed(const VersionId& id, ByteRange range);
  /// After a failure the journal takes nothing more until the next checkpoint is begun, so that no
  /// record can follow a torn one.
  Result<void> flush();
  /// What is flushed is kept. When not, nothing may be added to the disk that it would not name.
  bool recording() const { return journal_ && !broken_; }

  /// Looks whether the journal still has its name: who removes it breaks it.
  void notice_loss();
  /// The journals have outgrown the checkpoint, or records are missing from them.
  bool wants_checkpoint() const;
  /// Begins a new generation. The writer takes the state as it is now or later, version by version,
  /// and must be finished or dropped before the next is begun. Dropping it changes nothing.
  Result<std::unique_ptr<CheckpointWriter>> begin_checkpoint();
  Result<void> finish_checkpoint(std::unique_ptr<CheckpointWriter> writer);

  /// Flushes. If `clean`, syncs all that the cache has written and writes the mark that lets the
  /// next start trust that nothing is missing.
  Result<void> close(bool clean);

  /// What its files take on disk, and what a checkpoint may take besides.
  std::uint64_t disk_bytes() const;

 private:
  enum class Kind { kCheckpoint, kJournal };

  std::string path(Kind kind, std::uint64_t generation) const;
  void load(const std::vector<FileSystem::Entry>& entries, Visitor& visitor, LoadReport& report);
  bool replay_checkpoint(std::uint64_t generation, Visitor& visitor, LoadReport& report);
  Result<void> begin_journal(std::uint64_t generation, bool sync);
  void remove_generations_before(std::uint64_t generation);
  std::uint64_t journal_bytes_since_base() const;

  FileSystem& files_;
  const std::string cache_directory_;
  const std::string directory_;
  const Options options_;
  std::string boot_id_;

  /// Sizes of the files in the directory, by generation; 0: there is none.
  struct Files {
    std::uint64_t checkpoint = 0;
    std::uint64_t journal = 0;
  };
  std::map<std::uint64_t, Files> generations_;
  std::uint64_t base_ = 0;        ///< of the newest complete checkpoint; 0: none
  std::uint64_t generation_ = 0;  ///< of the journal
  UniqueFd journal_;
  std::uint64_t journal_size_ = 0;
  /// The journal that the next one follows, and how much of it counts.
  std::uint64_t chain_generation_ = 0;
  std::uint64_t chain_size_ = 0;
  bool broken_ = false;  ///< a write to the journal failed
  bool lost_ = false;    ///< records were lost before this journal: a checkpoint has to mend it
  std::string buffer_;
};

/// Takes the state for a checkpoint, in large writes. Belongs to the store thread, as its Manifest.
class CheckpointWriter {
 public:
  ~CheckpointWriter();
  void version(const VersionRecord& record);
  void chunk(const ChunkRecord& record);
  bool failed() const { return !result_; }

 private:
  friend class Manifest;
  CheckpointWriter(FileSystem& files, std::string temp, UniqueFd fd, std::uint64_t generation)
      : files_(files), temp_(std::move(temp)), fd_(std::move(fd)), generation_(generation) {}
  void write_out();

  FileSystem& files_;
  std::string temp_;  ///< empty once renamed
  UniqueFd fd_;
  const std::uint64_t generation_;
  std::string buffer_;
  std::uint64_t written_ = 0;
  std::uint64_t records_ = 0;
  Result<void> result_;
};

}  // namespace rangecache::cache
