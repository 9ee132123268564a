#include "cache/read_ahead.h"

#include <algorithm>

namespace rangecache::cache {
namespace {

/// How far the requests of the kernel's own read-ahead overtake one another.
constexpr std::uint64_t kSlack = 1 << 20;
/// So many reads in a row must have ended where the one before began.
constexpr int kStepsToBackward = 2;
/// So many equal distances make a stride.
constexpr int kRepeatsToStride = 3;
constexpr std::uint64_t kMaxStrides = 32;
/// Of a large window so much is asked for at a time: the rest stays on its way, so that the pipe
/// is always full. Larger steps leave connections without work (docs/decisions/0010).
constexpr std::uint64_t kStep = 8 << 20;
/// How fast a stream is read is measured over this time or more.
constexpr std::int64_t kMeasure_ns = 10'000'000;

/// Whether `read` begins where `before` ended. Readers that do not care for pages may begin in its
/// last.
bool follows(ByteRange before, ByteRange read) {
  constexpr std::uint64_t kPage = 4096;
  return read.begin <= before.end && before.end < read.begin + kPage && read.end > before.end;
}

}  // namespace

std::vector<ByteRange> ReadAhead::next(ByteRange read, const ReadConditions& conditions) {
  if (read.empty()) return {};
  ++clock_;
  if (Stream* stream = stream_of(read)) {
    stream->used = clock_;
    return go_on(*stream, read, conditions);
  }
  return stray(read, conditions);
}

bool ReadAhead::joins(const Stream& stream, ByteRange read) const {
  const ByteRange covered = stream.covered;
  // Of a short stream only what is near goes on: else random reads in its neighbourhood would.
  const std::uint64_t slack = std::min(kSlack, stream.bytes);
  const bool touches = read.begin <= covered.end && covered.begin <= read.end;
  switch (stream.direction) {
    case Direction::kUnknown:  // random reads may well overlap; they seldom begin at another's end
      return covered.contains(read) || follows(covered, read) || follows(read, covered);
    case Direction::kForward:
      return touches || (read.begin >= covered.end && read.begin - covered.end <= slack);
    case Direction::kBackward:
      return touches || (read.end <= covered.begin && covered.begin - read.end <= slack);
  }
  return false;
}

/// Of several, the one that was used last.
ReadAhead::Stream* ReadAhead::stream_of(ByteRange read) {
  Stream* best = nullptr;
  for (Stream& stream : streams_)
    if (joins(stream, read) && (!best || stream.used > best->used)) best = &stream;
  return best;
}

std::vector<ByteRange> ReadAhead::go_on(Stream& stream, ByteRange read,
                                        const ReadConditions& conditions) {
  const ByteRange before = stream.covered;
  if (!before.contains(read)) stream.bytes += read.size();
  measure(stream, conditions.now_ns);
  stream.covered = {std::min(before.begin, read.begin), std::max(before.end, read.end)};
  const bool up = stream.covered.end > before.end, down = stream.covered.begin < before.begin;
  if (stream.direction == Direction::kUnknown) {
    if (down && !up) ++stream.steps_down;
    if (up) {
      stream.direction = Direction::kForward;
      stream.frontier = stream.covered.end;
    } else if (stream.steps_down >= kStepsToBackward) {
      stream.direction = Direction::kBackward;
      stream.frontier = stream.covered.begin;
    }
  }
  if (stream.direction == Direction::kForward ? !up : !down) return {};
  return ahead_of(stream, conditions);
}

std::uint64_t ReadAhead::enough_ahead(const Stream& stream) {
  return stream.window - std::min(stream.window / 2, kStep);
}

/// Quick to believe that a stream is fast, and slow to believe that it is not: readers pause.
void ReadAhead::measure(Stream& stream, std::int64_t now_ns) {
  const std::int64_t passed = now_ns - stream.measured_ns;
  if (passed < kMeasure_ns) return;
  if (stream.measured_ns > 0) {
    const double now =
        static_cast<double>(stream.bytes - stream.measured_bytes) / static_cast<double>(passed);
    stream.bytes_per_ns = std::max(now, (3 * stream.bytes_per_ns + now) / 4);
  }
  stream.measured_ns = now_ns;
  stream.measured_bytes = stream.bytes;
}

/// What a reader takes while a part comes has to be on its way (Little's law). Twice that: one
/// that the window itself holds back finds it wider at each step, until it does not any more.
std::uint64_t ReadAhead::window_of(const Stream& stream, const ReadConditions& conditions) const {
  std::uint64_t needed = kUsualWindow;
  if (conditions.part_ns > 0 && stream.bytes_per_ns > 0) {
    const double on_the_way = stream.bytes_per_ns * static_cast<double>(conditions.part_ns);
    needed = std::max(kSteadyWindow, static_cast<std::uint64_t>(2 * on_the_way));
  }
  return std::min({std::max(kFactor * stream.bytes, kMinWindow), needed, options_.max_window});
}

std::vector<ByteRange> ReadAhead::ahead_of(Stream& stream, const ReadConditions& conditions) {
  const std::uint64_t window = window_of(stream, conditions);
  if (stream.direction == Direction::kForward) {
    const std::uint64_t at = stream.covered.end;
    stream.frontier = std::max(stream.frontier, at);
    if (stream.frontier - at > enough_ahead(stream)) return {};
    stream.window = window;
    const ByteRange ahead{stream.frontier, at + window};
    if (ahead.empty()) return {};
    stream.frontier = ahead.end;
    return {ahead};
  }
  if (stream.direction == Direction::kBackward) {
    const std::uint64_t at = stream.covered.begin;
    stream.frontier = std::min(stream.frontier, at);
    if (at - stream.frontier > enough_ahead(stream)) return {};
    stream.window = window;
    const ByteRange ahead{at - std::min(window, at), stream.frontier};
    if (ahead.empty()) return {};
    stream.frontier = ahead.begin;
    return {ahead};
  }
  return {};
}

std::vector<ByteRange> ReadAhead::stray(ByteRange read, const ReadConditions& conditions) {
  if (streams_.size() < kMaxStreams) {
    streams_.emplace_back();
  } else {
    std::iter_swap(
        std::min_element(streams_.begin(), streams_.end(),
                         [](const Stream& a, const Stream& b) { return a.used < b.used; }),
        std::prev(streams_.end()));
    streams_.back() = {};
  }
  streams_.back().covered = read;
  streams_.back().bytes = read.size();
  streams_.back().used = clock_;

  const std::uint64_t object_size = conditions.object_size;
  if (object_size > 0 && object_size <= options_.whole_size && strays_ < kReadsToWhole &&
      ++strays_ == kReadsToWhole)
    return {{0, object_size}};

  std::vector<ByteRange> ahead = strides(read);
  const auto dense = regions_.touched(read);
  if (dense && dense->size() <= options_.max_window) ahead.push_back(*dense);
  return ahead;
}

std::vector<ByteRange> ReadAhead::strides(ByteRange read) {
  const auto distance = static_cast<std::int64_t>(read.begin - last_stray_.begin);
  const bool again = distance == stride_ && read.size() == last_stray_.size();
  repeats_ = again ? repeats_ + 1 : 1;
  stride_ = distance;
  last_stray_ = read;
  if (!again) strides_asked_ = 0;
  if (strides_asked_ > 0) --strides_asked_;  // this one was asked for
  if (repeats_ < kRepeatsToStride) return {};

  const std::uint64_t wanted =
      std::min({static_cast<std::uint64_t>(repeats_), kMaxStrides,
                std::max<std::uint64_t>(1, options_.max_window / read.size())});
  if (strides_asked_ > wanted / 2) return {};
  std::vector<ByteRange> ahead;
  for (std::uint64_t i = strides_asked_ + 1; i <= wanted; ++i) {
    const std::int64_t shift = stride_ * static_cast<std::int64_t>(i);
    if (shift < 0 && read.begin < static_cast<std::uint64_t>(-shift)) break;
    const std::uint64_t begin = read.begin + static_cast<std::uint64_t>(shift);
    ahead.push_back({begin, begin + read.size()});
  }
  strides_asked_ = wanted;
  return ahead;
}

}  // namespace rangecache::cache
