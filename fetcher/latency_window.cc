#include "fetcher/latency_window.h"

#include <algorithm>

namespace rangecache::fetcher {

void LatencyWindow::record_ns(std::int64_t ns) { durations_[count_++ % kSize] = ns; }

std::optional<std::int64_t> LatencyWindow::quantile_ns(double q) const {
  const std::size_t held = std::min(count_, kSize);
  if (held < kFewest) return std::nullopt;
  auto sorted = durations_;
  const auto index = std::min(held - 1, static_cast<std::size_t>(q * static_cast<double>(held)));
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(index);
  std::nth_element(sorted.begin(), middle, sorted.begin() + static_cast<std::ptrdiff_t>(held));
  return *middle;
}

}  // namespace rangecache::fetcher
