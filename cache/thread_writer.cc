#include "cache/thread_writer.h"

#include <fcntl.h>
#include <pthread.h>

#include <string>
#include <utility>

namespace rangecache::cache {
namespace {

constexpr int kThreads = 2;

}  // namespace

ThreadWriter::ThreadWriter(ChunkStore& store, FileSystem& files) : store_(store), files_(files) {
  for (int i = 0; i < kThreads; ++i) {
    threads_.emplace_back([this] { run(); });
    pthread_setname_np(threads_.back().native_handle(), ("rc-write-" + std::to_string(i)).c_str());
  }
}

ThreadWriter::~ThreadWriter() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  work_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadWriter::write(ChunkWrite write) {
  {
    MutexLock lock(mu_);
    queue_.push_back(std::move(write));
  }
  work_.notify_one();
}

void ThreadWriter::drain() {
  MutexLock lock(mu_);
  while (!queue_.empty() || busy_ > 0) idle_.wait(mu_);
}

void ThreadWriter::run() {
  for (;;) {
    ChunkWrite write;
    {
      MutexLock lock(mu_);
      while (queue_.empty() && !stopping_) work_.wait(mu_);
      if (queue_.empty()) return;
      write = std::move(queue_.front());
      queue_.pop_front();
      ++busy_;
    }
    auto result = write_now(write);
    auto done = std::move(write.done);
    write = {};  // the memory goes back before the next waits for some
    done(std::move(result));
    MutexLock lock(mu_);
    --busy_;
    idle_.notify_all();
  }
}

Result<std::uint64_t> ThreadWriter::write_now(const ChunkWrite& write) {
  const std::string temp = store_.temp_path();
  const auto fill = [&]() -> Result<std::uint64_t> {
    RC_ASSIGN(const UniqueFd fd, files_.open(temp, O_WRONLY | O_CREAT | O_EXCL, 0600));
    RC_TRY(files_.write_all(fd.get(), write.data, 0));
    const auto marked =
        files_.set_attribute(fd.get(), ChunkStore::kIdentityAttribute,
                             ChunkStore::identity(write.version, write.range, write.checksum));
    if (!marked && marked.error().code != ErrorCode::kUnsupported) return marked.error();
    if (store_.durability() == Durability::kStrict) RC_TRY(files_.sync(fd.get()));
    RC_ASSIGN(const FileSystem::Status status, files_.status(fd.get()));
    return status.disk_bytes;
  };
  auto filled = fill();
  if (filled) {
    const std::string path = store_.chunk_path(write.version, write.range);
    auto renamed = files_.rename(temp, path);
    if (!renamed && renamed.error().code == ErrorCode::kNotFound) {
      // Somebody removed the directory under us: make it again, once.
      renamed = store_.restore_directory(write.version);
      if (renamed) renamed = files_.rename(temp, path);
    }
    if (renamed) {
      renamed = store_.sync_names(write.version);
      if (renamed) return filled;
      (void)files_.unlink(path);
    }
    filled = renamed.error();
  }
  (void)files_.unlink(temp);
  return filled;
}

}  // namespace rangecache::cache
