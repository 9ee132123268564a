#include "fetcher/budget.h"

#include <algorithm>

namespace rangecache::fetcher {

Budget::Budget(double share, double reserve, double per_second)
    : share_(share), reserve_(reserve), per_second_(per_second), tokens_(reserve) {}

void Budget::earn() { give_back(share_); }

void Budget::give_back(double count) { tokens_ = std::min(reserve_, tokens_ + count); }

bool Budget::take(std::int64_t now_ns) {
  if (refilled_ns_ >= 0) give_back(static_cast<double>(now_ns - refilled_ns_) * 1e-9 * per_second_);
  refilled_ns_ = now_ns;
  if (tokens_ < 1) return false;
  tokens_ -= 1;
  return true;
}

}  // namespace rangecache::fetcher
