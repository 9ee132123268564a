#include "cache/disk_breaker.h"

#include <algorithm>
#include <cerrno>

#include "base/check.h"
#include "base/log.h"

namespace rangecache::cache {

bool is_disk_fault(const Error& error) {
  switch (error.code) {
    case ErrorCode::kNotFound:          // a directory of the cache was removed
    case ErrorCode::kPermissionDenied:  // EROFS, EACCES
      return true;
    case ErrorCode::kIo:
      return error.sys_errno != EMFILE && error.sys_errno != ENFILE && error.sys_errno != ENOMEM;
    default:
      return false;
  }
}

DiskBreaker::DiskBreaker(const Clock& clock, Metrics& metrics)
    : clock_(clock),
      open_gauge_(metrics.gauge("rangecache_disk_breaker_open",
                                "1 while the cache disk is left alone because it failed")),
      opened_(metrics.counter("rangecache_disk_breaker_opened_total",
                              "Times that the cache disk was given up for a while")) {}

void DiskBreaker::fault(Fault kind, const Error& error) {
  if (!is_disk_fault(error)) return;
  if (state_ != State::kClosed) {
    if (kind == Fault::kRead) pause_reads();
    return;
  }
  const std::int64_t now = clock_.monotonic_ns();
  faults_.push_back({now, kind});
  while (faults_.front().at_ns < now - kWindow_ns) faults_.pop_front();
  if (faults_.size() < kMaxFaults) return;
  open(error, std::any_of(faults_.begin(), faults_.end(),
                          [](const Seen& seen) { return seen.kind == Fault::kRead; }));
}

void DiskBreaker::trip(const Error& error) {
  if (state_ == State::kClosed) open(error, false);
}

void DiskBreaker::open(const Error& error, bool reads_too) {
  const std::int64_t now = clock_.monotonic_ns();
  const bool again = closed_at_ns_ != 0 && now - closed_at_ns_ < kTrusted_ns;
  delay_ns_ = again ? std::min(2 * delay_ns_, kMaxDelay_ns) : kFirstDelay_ns;
  state_ = State::kOpen;
  cause_ = error.code;
  probe_at_ns_ = now + delay_ns_;
  faults_.clear();
  writes_allowed_ = false;
  open_gauge_.set(1);
  opened_.add();
  log_warning("the cache disk fails ({}): nothing new is kept until it works again",
              error.message());
  if (reads_too) pause_reads();
}

void DiskBreaker::pause_reads() {
  if (!reads_allowed_.exchange(false)) return;
  log_warning("the cache disk cannot be read: all bytes come from the origins meanwhile");
}

bool DiskBreaker::begin_probe() {
  if (state_ != State::kOpen || clock_.monotonic_ns() < probe_at_ns_) return false;
  state_ = State::kHalfOpen;
  return true;
}

void DiskBreaker::probed(const Result<void>& result) {
  CHECK(state_ == State::kHalfOpen);
  const std::int64_t now = clock_.monotonic_ns();
  if (!result) {
    state_ = State::kOpen;
    cause_ = result.error().code;
    delay_ns_ = std::min(2 * delay_ns_, kMaxDelay_ns);
    probe_at_ns_ = now + delay_ns_;
    return;
  }
  state_ = State::kClosed;
  closed_at_ns_ = now;
  writes_allowed_ = true;
  reads_allowed_ = true;
  open_gauge_.set(0);
  log_info("the cache disk works again: it is used as before");
}

}  // namespace rangecache::cache
