#include "fetcher/retry_policy.h"

#include <algorithm>

namespace rangecache::fetcher {

std::optional<std::int64_t> RetryPolicy::delay_ms(int failures, std::int64_t elapsed_ms,
                                                  std::optional<std::int64_t> retry_after_s,
                                                  std::uint64_t random) const {
  if (failures >= max_attempts || elapsed_ms >= deadline_ms) return std::nullopt;
  const int doublings = std::clamp(failures - 1, 0, 20);
  const std::int64_t ceiling_ms = std::min(cap_ms, base_ms << doublings);
  const auto jitter_ms =
      static_cast<std::int64_t>(random % (static_cast<std::uint64_t>(ceiling_ms) + 1));
  if (!retry_after_s) return jitter_ms;
  const std::int64_t asked_s =
      std::clamp<std::int64_t>(*retry_after_s, 0, retry_after_cap_ms / 1000);
  return std::min(asked_s * 1000 + jitter_ms, retry_after_cap_ms);
}

}  // namespace rangecache::fetcher
