#pragma once

#include <deque>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "cache/chunk_writer.h"

namespace rangecache::cache {

/// Writes chunks with ordinary calls on two threads ("rc-write-N"): for kernels and containers
/// without io_uring.
class ThreadWriter final : public ChunkWriter {
 public:
  ThreadWriter(ChunkStore& store, FileSystem& files);
  ~ThreadWriter() override;

  void write(ChunkWrite write) override EXCLUDES(mu_);
  void drain() override EXCLUDES(mu_);
  const char* name() const override { return "threads"; }

 private:
  void run();
  Result<std::uint64_t> write_now(const ChunkWrite& write);

  ChunkStore& store_;
  FileSystem& files_;
  Mutex mu_;
  CondVar work_;
  CondVar idle_;
  std::deque<ChunkWrite> queue_ GUARDED_BY(mu_);
  std::size_t busy_ GUARDED_BY(mu_) = 0;
  bool stopping_ GUARDED_BY(mu_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace rangecache::cache
