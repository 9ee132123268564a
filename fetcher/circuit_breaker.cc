#include "fetcher/circuit_breaker.h"

#include <algorithm>

namespace rangecache::fetcher {

CircuitBreaker::CircuitBreaker(Options options)
    : options_(options), pause_ns_(options.first_pause_ns) {}

bool CircuitBreaker::admit(std::int64_t now_ns) {
  if (state_ == State::kClosed) return true;
  if (now_ns < open_until_ns_) return false;
  state_ = State::kHalfOpen;
  open_until_ns_ = now_ns + options_.first_pause_ns;
  return true;
}

void CircuitBreaker::answered() {
  state_ = State::kClosed;
  failures_ = 0;
  pause_ns_ = options_.first_pause_ns;
}

bool CircuitBreaker::failed(std::int64_t now_ns) {
  if (failures_++ == 0) first_failure_ns_ = now_ns;
  if (state_ == State::kOpen) return false;  // it was sent before
  const bool was_probe = state_ == State::kHalfOpen;
  if (was_probe) {
    pause_ns_ = std::min(2 * pause_ns_, options_.longest_pause_ns);
  } else if (failures_ < options_.failures || now_ns - first_failure_ns_ < options_.lasting_ns) {
    return false;
  }
  state_ = State::kOpen;
  open_until_ns_ = now_ns + pause_ns_;
  return !was_probe;
}

void CircuitBreaker::abandoned() {
  if (state_ == State::kHalfOpen) open_until_ns_ = 0;  // the next one goes
}

}  // namespace rangecache::fetcher
