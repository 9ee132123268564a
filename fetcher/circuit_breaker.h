#pragma once

#include <cstdint>
#include <optional>

namespace rangecache::fetcher {

/// Stops asking a server that does not answer, so that readers fail at once instead of one time-out
/// later each, and tries again with one request at a time. Pure; not thread-safe. Times are
/// monotonic nanoseconds.
///
///   closed --(failures in a row, for some time)--> open --(pause)--> half-open: one request goes
///     ^                                              ^                  |
///     +---------------- it is answered --------------+-- it fails: a pause twice as long
class CircuitBreaker {
 public:
  struct Options {
    int failures = 5;  ///< in a row
    std::int64_t lasting_ns = 3'000'000'000;
    std::int64_t first_pause_ns = 1'000'000'000;
    std::int64_t longest_pause_ns = 10'000'000'000;
  };
  enum class State { kClosed, kOpen, kHalfOpen };

  CircuitBreaker() : CircuitBreaker(Options{}) {}
  explicit CircuitBreaker(Options options);

  /// Whether a request may be sent. In the half-open state only one a `first_pause` may, until
  /// answered() or failed() tells of it: it may be one that hangs while others would not.
  bool admit(std::int64_t now_ns);
  void answered();  ///< by any status that shows the server at work
  /// True if this opened it.
  bool failed(std::int64_t now_ns);
  /// The request ended without telling anything.
  void abandoned();

  State state() const { return state_; }
  int failures_in_a_row() const { return failures_; }
  /// When it will let one through, while it is not closed.
  std::int64_t open_until_ns() const { return open_until_ns_; }

 private:
  const Options options_;
  State state_ = State::kClosed;
  int failures_ = 0;
  std::int64_t first_failure_ns_ = 0;
  std::int64_t pause_ns_;
  std::int64_t open_until_ns_ = 0;
};

}  // namespace rangecache::fetcher
