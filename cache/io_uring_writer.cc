#include "cache/io_uring_writer.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "base/check.h"

namespace rangecache::cache {
namespace {

constexpr unsigned kRingEntries = 64;
constexpr std::size_t kMaxInFlight = 8;  // chunks; bounds temp files and dirty pages alike
// Large chunks go to the disk without a copy in the page cache (O_DIRECT): it has the object's
// pages of the mount already, and the copy costs more than all else that a cold stream does.
constexpr std::size_t kDirectFrom = 1 << 20;
constexpr std::size_t kDirectAlignment = 4096;  // of memory, offset and length: enough for all

}  // namespace

struct IoUringWriter::Job {
  enum class Step { kOpening, kWriting, kSyncing, kRenaming };
  ChunkWrite write;
  std::string temp;
  std::string path;
  UniqueFd fd;
  Step step = Step::kOpening;
  std::uint64_t written = 0;
  std::uint64_t disk_bytes = 0;
  bool directory_restored = false;
  bool direct = false;
};

Result<std::unique_ptr<IoUringWriter>> IoUringWriter::make(ChunkStore& store, FileSystem& files) {
  std::unique_ptr<IoUringWriter> writer(new IoUringWriter(store, files));
  // A negative errno is returned: ENOSYS without the feature, EPERM behind a seccomp filter or
  // kernel.io_uring_disabled, ENOMEM where RLIMIT_MEMLOCK still counts.
  const int result = io_uring_queue_init(kRingEntries, &writer->ring_, 0);
  if (result < 0) {
    writer->ring_.ring_fd = -1;
    return Error(ErrorCode::kUnsupported, "io_uring is not to be had", -result);
  }
  writer->thread_ = std::thread([w = writer.get()] { w->run(); });
  pthread_setname_np(writer->thread_.native_handle(), "rc-write");
  return writer;
}

IoUringWriter::IoUringWriter(ChunkStore& store, FileSystem& files)
    : store_(store), files_(files), wake_(eventfd(0, EFD_CLOEXEC)) {
  CHECK(wake_);
  ring_.ring_fd = -1;
}

IoUringWriter::~IoUringWriter() {
  if (thread_.joinable()) {
    {
      MutexLock lock(mu_);
      stopping_ = true;
    }
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto woken = ::write(wake_.get(), &one, sizeof one);
    thread_.join();
  }
  if (ring_.ring_fd >= 0) io_uring_queue_exit(&ring_);
}

void IoUringWriter::write(ChunkWrite write) {
  {
    MutexLock lock(mu_);
    queue_.push_back(std::move(write));
    ++unfinished_;
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto woken = ::write(wake_.get(), &one, sizeof one);
}

void IoUringWriter::drain() {
  MutexLock lock(mu_);
  while (unfinished_ > 0) idle_.wait(mu_);
}

io_uring_sqe* IoUringWriter::next_sqe() {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  CHECK(sqe);  // one per job and one for the wake-up: far fewer than the ring has
  return sqe;
}

void IoUringWriter::watch_wake() {
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_read(sqe, wake_.get(), &wake_value_, sizeof wake_value_, 0);
  io_uring_sqe_set_data(sqe, nullptr);
}

void IoUringWriter::run() {
  watch_wake();
  for (;;) {
    begin_queued();
    {
      MutexLock lock(mu_);
      if (stopping_ && unfinished_ == 0) return;
    }
    const int submitted = io_uring_submit_and_wait(&ring_, 1);
    CHECK(submitted >= 0 || submitted == -EINTR || submitted == -EAGAIN || submitted == -EBUSY);
    io_uring_cqe* cqe = nullptr;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
      Job* const job = static_cast<Job*>(io_uring_cqe_get_data(cqe));
      const int result = cqe->res;
      io_uring_cqe_seen(&ring_, cqe);
      if (job) {
        advance(job, result);
      } else {
        watch_wake();
      }
    }
  }
}

void IoUringWriter::begin_queued() {
  while (in_flight_ < kMaxInFlight) {
    ChunkWrite write;
    bool keeps_up = true;
    {
      MutexLock lock(mu_);
      if (queue_.empty()) return;
      write = std::move(queue_.front());
      queue_.pop_front();
      keeps_up = queue_.size() < kMaxInFlight;
    }
    begin(std::move(write), keeps_up);
  }
}

void IoUringWriter::begin(ChunkWrite write, bool disk_keeps_up) {
  auto* job = new Job;  // owned by its completion: finish() deletes it
  job->temp = store_.temp_path();
  job->path = store_.chunk_path(write.version, write.range);
  job->write = std::move(write);
  // When much waits for the disk, the page cache takes it quicker.
  job->direct = direct_works_ && disk_keeps_up && job->write.data.size() >= kDirectFrom &&
                job->write.data.size() % kDirectAlignment == 0 &&
                reinterpret_cast<std::uintptr_t>(job->write.data.data()) % kDirectAlignment == 0;
  ++in_flight_;
  submit_open(job);
}

void IoUringWriter::submit_open(Job* job) {
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_openat(
      sqe, AT_FDCWD, job->temp.c_str(),
      O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW | (job->direct ? O_DIRECT : 0), 0600);
  io_uring_sqe_set_data(sqe, job);
}

void IoUringWriter::submit_write(Job* job) {
  job->step = Job::Step::kWriting;
  const auto rest = job->write.data.subspan(job->written);
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_write(sqe, job->fd.get(), rest.data(), static_cast<unsigned>(rest.size()),
                      job->written);
  io_uring_sqe_set_data(sqe, job);
}

void IoUringWriter::submit_sync(Job* job) {
  job->step = Job::Step::kSyncing;
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_fsync(sqe, job->fd.get(), 0);
  io_uring_sqe_set_data(sqe, job);
}

void IoUringWriter::submit_rename(Job* job) {
  job->step = Job::Step::kRenaming;
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_renameat(sqe, AT_FDCWD, job->temp.c_str(), AT_FDCWD, job->path.c_str(), 0);
  io_uring_sqe_set_data(sqe, job);
}

void IoUringWriter::advance(Job* job, int result) {
  switch (job->step) {
    case Job::Step::kOpening:
      if (result == -EINVAL && job->direct) {  // the file may have been made all the same
        (void)files_.unlink(job->temp);
        direct_works_ = job->direct = false;
        return submit_open(job);
      }
      if (result < 0) return fail(job, -result, "cannot open a temporary file");
      job->fd.reset(result);
      return submit_write(job);

    case Job::Step::kWriting: {
      if (result == -EINTR || result == -EAGAIN) return submit_write(job);
      // A device of larger blocks; or a short write, whose rest is not aligned any more.
      if (job->direct && (result == -EINVAL || result % static_cast<int>(kDirectAlignment) != 0)) {
        direct_works_ = direct_works_ && result != -EINVAL;
        job->direct = false;
        const int flags = ::fcntl(job->fd.get(), F_GETFL);
        if (::fcntl(job->fd.get(), F_SETFL, flags & ~O_DIRECT) != 0)
          return fail(job, errno, "cannot write a chunk");
        if (result == -EINVAL) return submit_write(job);
      }
      if (result <= 0) return fail(job, result < 0 ? -result : EIO, "cannot write a chunk");
      job->written += static_cast<std::uint64_t>(result);
      if (job->written < job->write.data.size()) return submit_write(job);
      const auto marked = files_.set_attribute(
          job->fd.get(), ChunkStore::kIdentityAttribute,
          ChunkStore::identity(job->write.version, job->write.range, job->write.checksum));
      if (!marked && marked.error().code != ErrorCode::kUnsupported)
        return fail(job, marked.error().sys_errno, "cannot mark a chunk");
      if (const auto status = files_.status(job->fd.get())) job->disk_bytes = status->disk_bytes;
      if (store_.durability() == Durability::kStrict) return submit_sync(job);
      job->fd.reset();
      return submit_rename(job);
    }

    case Job::Step::kSyncing:
      if (result < 0) return fail(job, -result, "cannot sync a chunk");
      job->fd.reset();
      return submit_rename(job);

    case Job::Step::kRenaming:
      if (result == -ENOENT && !job->directory_restored) {
        // Somebody removed the directory under us: make it again, once.
        job->directory_restored = true;
        if (store_.restore_directory(job->write.version)) return submit_rename(job);
      }
      if (result < 0) return fail(job, -result, "cannot rename a chunk");
      if (auto synced = store_.sync_names(job->write.version); !synced) {
        (void)files_.unlink(job->path);
        return finish(job, synced.error());
      }
      return finish(job, job->disk_bytes);
  }
}

void IoUringWriter::fail(Job* job, int error_number, const char* what) {
  job->fd.reset();
  (void)files_.unlink(job->temp);
  finish(job, error_from_errno(error_number, std::string(what) + " of " + job->path));
}

void IoUringWriter::finish(Job* job, Result<std::uint64_t> result) {
  auto done = std::move(job->write.done);
  delete job;  // the memory goes back before the next waits for some
  --in_flight_;
  done(std::move(result));
  MutexLock lock(mu_);
  if (--unfinished_ == 0) idle_.notify_all();
}

}  // namespace rangecache::cache
