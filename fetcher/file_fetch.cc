#include "fetcher/file_fetch.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace rangecache::fetcher {
namespace {

constexpr std::uint64_t kBlockBytes = 512 * 1024;

}  // namespace

FileFetch::FileFetch(std::shared_ptr<const FileTree> tree, WorkerPool& workers,
                     Counter& bytes_total, FetchRequest request, std::shared_ptr<FetchSink> sink)
    : tree_(std::move(tree)),
      workers_(workers),
      bytes_total_(bytes_total),
      request_(std::move(request)),
      sink_(std::move(sink)) {}

void FileFetch::start() { post_step(); }

void FileFetch::post_step() {
  if (!workers_.post([self = shared_from_this()] { self->step(); }))
    finish(Error{ErrorCode::kShuttingDown, "the program is stopping"});
}

void FileFetch::cancel() {
  {
    MutexLock lock(mu_);
    cancelled_ = true;
    if (!std::exchange(paused_, false)) return;  // the running step sees it
  }
  post_step();
}

void FileFetch::resume() {
  {
    MutexLock lock(mu_);
    if (!std::exchange(paused_, false)) {
      resumed_early_ = true;
      return;
    }
  }
  post_step();
}

void FileFetch::step() {
  if (!sink_) return;
  {
    MutexLock lock(mu_);
    if (cancelled_) return finish(Error{ErrorCode::kCancelled, request_.key});
  }
  if (!std::exchange(opened_, true)) {
    const auto wanted = open_and_tell();
    if (!wanted) return finish(wanted.error());
    if (!*wanted) return finish(Error{ErrorCode::kCancelled, request_.key});
  }
  if (left_.empty()) return finish({});
  if (block_.empty()) {
    if (auto read = read_block(); !read) return finish(std::move(read));
  }
  switch (sink_->on_data(block_)) {
    case FetchSink::Verdict::kAbort:
      return finish(Error{ErrorCode::kCancelled, request_.key});
    case FetchSink::Verdict::kContinue:
      left_.begin += block_.size();
      block_.clear();
      break;
    case FetchSink::Verdict::kPause: {
      MutexLock lock(mu_);
      if (!cancelled_ && !std::exchange(resumed_early_, false)) {
        paused_ = true;
        return;
      }
    }
  }
  if (left_.empty()) return finish({});
  post_step();
}

Result<bool> FileFetch::open_and_tell() {
  if (request_.range.empty())
    return Error{ErrorCode::kInvalidArgument, request_.key + ": an empty range was asked for"};
  RC_ASSIGN(file_, tree_->open_file(request_.key));
  FetchHead head;
  head.attributes = attributes_of(file_.status);
  if (request_.expected.kind != Validator::Kind::kNone &&
      request_.expected != head.attributes.validator)
    return Error{ErrorCode::kStale, request_.key + ": has changed"};
  const std::uint64_t size = *head.attributes.size;
  head.range = {std::min(request_.range.begin, size), std::min(request_.range.end, size)};
  left_ = head.range;
  return sink_->on_head(head) == FetchSink::Verdict::kContinue;
}

Result<void> FileFetch::read_block() {
  block_.resize(std::min(left_.size(), kBlockBytes));
  for (std::size_t filled = 0; filled < block_.size();) {
    const ssize_t got = pread(file_.fd.get(), block_.data() + filled, block_.size() - filled,
                              static_cast<off_t>(left_.begin + filled));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Error{ErrorCode::kIo, request_.key, errno};
    if (got == 0) return Error{ErrorCode::kStale, request_.key + ": is shorter than it was"};
    filled += static_cast<std::size_t>(got);
  }
  bytes_total_.add(block_.size());
  struct stat now {};
  if (fstat(file_.fd.get(), &now) != 0) return Error{ErrorCode::kIo, request_.key, errno};
  if (attributes_of(now).validator != attributes_of(file_.status).validator)
    return Error{ErrorCode::kStale, request_.key + ": was written while it was read"};
  return {};
}

void FileFetch::finish(Result<void> result) {
  const std::shared_ptr<FetchSink> sink = std::move(sink_);
  if (sink) sink->on_done(std::move(result));
}

}  // namespace rangecache::fetcher
