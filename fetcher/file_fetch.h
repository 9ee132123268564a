#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "fetcher/file_tree.h"
#include "fetcher/worker_pool.h"

namespace rangecache::fetcher {

/// One fetch from a local file, a block at a time, each block a task of its own, so that long
/// fetches take turns. The file is looked at again after each read and before its bytes are handed
/// on: bytes of a file that changed meanwhile are never delivered.
class FileFetch final : public Transfer, public std::enable_shared_from_this<FileFetch> {
 public:
  FileFetch(std::shared_ptr<const FileTree> tree, WorkerPool& workers, Counter& bytes_total,
            FetchRequest request, std::shared_ptr<FetchSink> sink);

  void start();  ///< once
  void cancel() override EXCLUDES(mu_);
  void resume() override EXCLUDES(mu_);

 private:
  void post_step();
  void step();                   ///< on a worker; never two at a time
  Result<bool> open_and_tell();  ///< false: the sink does not want it
  Result<void> read_block();
  void finish(Result<void> result);

  const std::shared_ptr<const FileTree> tree_;
  WorkerPool& workers_;
  Counter& bytes_total_;
  const FetchRequest request_;

  // The step's own:
  std::shared_ptr<FetchSink> sink_;  ///< null once on_done was called
  FileTree::OpenFile file_;
  ByteRange left_;                ///< of the object, not delivered yet
  std::vector<std::byte> block_;  ///< read, not taken yet
  bool opened_ = false;

  Mutex mu_;
  bool cancelled_ GUARDED_BY(mu_) = false;
  bool paused_ GUARDED_BY(mu_) = false;
  bool resumed_early_ GUARDED_BY(mu_) = false;  ///< before the pause was noted
};

}  // namespace rangecache::fetcher
