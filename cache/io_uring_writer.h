#pragma once

#include <liburing.h>

#include <atomic>
#include <deque>
#include <memory>
#include <thread>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "cache/chunk_writer.h"

namespace rangecache::cache {

/// Writes chunks through one io_uring on its own thread ("rc-write"), several at a time.
///
///     queued ─► opening ─► writing ─► (marked, measured) ─► syncing, if strict ─► renaming ─► done
///                   └───────────┴─────────────────────────────┴───────────┴──► failed: temp file
///                   unlinked ─► done
class IoUringWriter final : public ChunkWriter {
 public:
  /// kUnsupported where the kernel (or a seccomp filter) refuses io_uring.
  static Result<std::unique_ptr<IoUringWriter>> make(ChunkStore& store, FileSystem& files);
  ~IoUringWriter() override;

  void write(ChunkWrite write) override EXCLUDES(mu_);
  void drain() override EXCLUDES(mu_);
  const char* name() const override { return "io_uring"; }

 private:
  struct Job;
  IoUringWriter(ChunkStore& store, FileSystem& files);

  void run();
  void begin_queued() EXCLUDES(mu_);
  void begin(ChunkWrite write, bool disk_keeps_up);
  void advance(Job* job, int result);
  void submit_open(Job* job);
  void submit_write(Job* job);
  void submit_sync(Job* job);
  void submit_rename(Job* job);
  void finish(Job* job, Result<std::uint64_t> result);
  void fail(Job* job, int error_number, const char* what);
  void watch_wake();
  io_uring_sqe* next_sqe();

  ChunkStore& store_;
  FileSystem& files_;
  io_uring ring_{};
  UniqueFd wake_;
  std::uint64_t wake_value_ = 0;
  std::size_t in_flight_ = 0;  // the thread's
  bool direct_works_ = true;   // the same

  Mutex mu_;
  CondVar idle_;
  std::deque<ChunkWrite> queue_ GUARDED_BY(mu_);
  std::size_t unfinished_ GUARDED_BY(mu_) = 0;  ///< queued or in flight
  bool stopping_ GUARDED_BY(mu_) = false;
  std::thread thread_;
};

}  // namespace rangecache::cache
