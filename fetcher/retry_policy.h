#pragma once

#include <cstdint>
#include <optional>

namespace rangecache::fetcher {

/// When a failed request is sent again: exponential back-off with full jitter, so that many
/// clients that failed together do not come back together. Pure.
struct RetryPolicy {
  int max_attempts = 6;  ///< the first one included
  std::int64_t base_ms = 100;
  std::int64_t cap_ms = 2'000;
  std::int64_t retry_after_cap_ms = 30'000;
  std::int64_t deadline_ms = 60'000;  ///< no further attempt begins after this

  /// Milliseconds to wait after the `failures`-th failure in a row (1, 2, ...), which came
  /// `elapsed_ms` after the first attempt began; nullopt: give up.
  /// `retry_after_s` is what the origin asked for: waited at least, up to its cap. `random` is
  /// any uniformly distributed number.
  std::optional<std::int64_t> delay_ms(int failures, std::int64_t elapsed_ms,
                                       std::optional<std::int64_t> retry_after_s,
                                       std::uint64_t random) const;
};

}  // namespace rangecache::fetcher
