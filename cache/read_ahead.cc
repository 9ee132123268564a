#include "cache/read_ahead.h"

#include <algorithm>

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kSlack = 1 << 20;  // how far the kernel's own read-ahead reorders

}  // namespace

ByteRange ReadAhead::next(ByteRange read) {
  const bool continues = read.begin <= stream_end_ + kSlack && read.end + kSlack >= stream_end_;
  if (!continues) {
    stream_end_ = read.end;
    frontier_ = read.end;
    window_ = 0;
    sequential_reads_ = 0;
    return {};
  }
  const bool advances = read.end > stream_end_;
  stream_end_ = std::max(stream_end_, read.end);
  frontier_ = std::max(frontier_, stream_end_);
  // A file's first read says nothing yet (a header is looked at everywhere); the next one does.
  if (!advances || ++sequential_reads_ < 2) return {};

  // Ask again when half of the window is used up, so that the pipe never runs dry.
  if (frontier_ - stream_end_ > window_ / 2) return {};
  // It has doubled only when that much was used: a stream that stops wastes about what it has read.
  window_ = window_ == 0 ? options_.initial_window : std::min(window_ * 2, options_.max_window);
  const ByteRange ahead{frontier_, stream_end_ + window_};
  frontier_ = ahead.end;
  return ahead;
}

}  // namespace rangecache::cache
