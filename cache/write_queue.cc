#include "cache/write_queue.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kMaxWriting = 64 << 20;
constexpr std::int64_t kPatience_ns = 1'000'000'000;

}  // namespace

WriteQueue::WriteQueue(std::uint64_t memory_bytes, const Clock& clock, Metrics& metrics)
    : memory_bytes_(memory_bytes),
      max_writing_(std::clamp(memory_bytes / 4, kPieceSize, kMaxWriting)),
      clock_(clock),
      behind_gauge_(metrics.gauge("rangecache_disk_behind",
                                  "1 while the cache disk is slower than what arrives")) {}

void WriteQueue::push(PieceWrite write) {
  waiting_bytes_ += size_of(write);
  waiting_.push_back(std::move(write));
  look();
}

std::optional<PieceWrite> WriteQueue::next() {
  if (waiting_.empty() || (writing_bytes_ >= max_writing_ && !draining_)) return std::nullopt;
  PieceWrite write = std::move(waiting_.front());
  waiting_.pop_front();
  waiting_bytes_ -= size_of(write);
  writing_bytes_ += size_of(write);
  return write;
}

void WriteQueue::done(const PieceWrite& write) {
  writing_bytes_ -= size_of(write);
  look();
}

void WriteQueue::look() {
  const std::uint64_t backlog = backlog_bytes();
  if (backlog < memory_bytes_ / 2) {
    full_since_ns_.reset();
    if (behind_ && backlog < memory_bytes_ / 4) {
      behind_ = false;
      behind_gauge_.set(0);
    }
    return;
  }
  const std::int64_t now = clock_.monotonic_ns();
  if (!full_since_ns_) full_since_ns_ = now;
  if (behind_ || now - *full_since_ns_ < kPatience_ns) return;
  behind_ = true;
  behind_gauge_.set(1);
  log_info("the cache disk is slower than what arrives: not all of it is kept for now");
}

std::vector<PieceWrite> WriteQueue::give_up() {
  look();
  std::vector<PieceWrite> given_up;
  if (!behind_ || draining_) return given_up;
  const auto kept = std::stable_partition(
      waiting_.begin(), waiting_.end(),
      [](const PieceWrite& write) { return !write.piece->unread_ahead.load(); });
  given_up.assign(std::make_move_iterator(waiting_.begin()), std::make_move_iterator(kept));
  waiting_.erase(waiting_.begin(), kept);
  for (const PieceWrite& write : given_up) waiting_bytes_ -= size_of(write);
  look();
  return given_up;
}

}  // namespace rangecache::cache
