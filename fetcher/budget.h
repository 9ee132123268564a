#pragma once

#include <cstdint>

namespace rangecache::fetcher {

/// Allows extra requests as a share of those that went well, so that what is sent twice when a
/// server is in trouble does not add to the trouble. Pure; not thread-safe.
class Budget {
 public:
  /// Each success earns `share` of an extra request, up to `reserve` of them, which are also there
  /// at the start. A quiet client earns `per_second` besides.
  Budget(double share, double reserve, double per_second);

  void earn();
  /// What an extra request took comes back when it was worth it.
  void give_back(double count);
  /// False: not now. `now_ns` is any monotonic time.
  bool take(std::int64_t now_ns);

 private:
  const double share_;
  const double reserve_;
  const double per_second_;
  double tokens_;
  std::int64_t refilled_ns_ = -1;
};

}  // namespace rangecache::fetcher
