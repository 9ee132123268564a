#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace rangecache::fetcher {

/// The last durations until a first byte, for telling what is unusually slow. Pure; not
/// thread-safe.
class LatencyWindow {
 public:
  static constexpr std::size_t kSize = 128;
  static constexpr std::size_t kFewest = 20;  ///< fewer say nothing of the slowest twentieth

  void record_ns(std::int64_t ns);
  /// Under which the share `q` (0..1) of the last durations lies; nullopt while there are too few.
  std::optional<std::int64_t> quantile_ns(double q) const;

 private:
  std::array<std::int64_t, kSize> durations_{};
  std::size_t count_ = 0;  ///< ever recorded
};

}  // namespace rangecache::fetcher
