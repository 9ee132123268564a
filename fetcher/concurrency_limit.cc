#include "fetcher/concurrency_limit.h"

#include <algorithm>

namespace rangecache::fetcher {

ConcurrencyLimit::ConcurrencyLimit(int most) : most_(std::max(most, 1)), limit_(most_) {}

void ConcurrencyLimit::answered() { limit_ = std::min(most_, limit_ + 1 / limit_); }

void ConcurrencyLimit::slowed(std::int64_t sent_ns, std::int64_t now_ns) {
  if (sent_ns < halved_ns_) return;
  limit_ = std::max(1.0, limit_ / 2);
  halved_ns_ = now_ns;
}

}  // namespace rangecache::fetcher
