#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/origin.h"
#include "rangecache/result.h"

namespace rangecache::cache {

/// For how long what an origin said is taken for true. Chosen by the user per daemon or mount.
struct FreshnessPolicy {
  enum class Kind {
    kHttp,       ///< as the response says (RFC 9111), a short heuristic where it says nothing
    kTtl,        ///< a fixed time, whatever the response says
    kAlways,     ///< revalidate at every open
    kImmutable,  ///< never ask again
    kOffline,    ///< never ask at all: only what is cached exists
  };
  Kind kind = Kind::kHttp;
  std::int64_t ttl_s = 60;
  std::int64_t stale_if_error_s = 0;  ///< how long past its time a version serves while the
                                      ///< origin cannot be reached

  /// Seconds from now for which a response may be used unasked.
  std::int64_t lifetime_s(const Freshness& response) const;
  /// The same for a directory's listing, which servers rarely say anything of.
  std::int64_t listing_lifetime_s(const Freshness& response) const;
};

/// The policy of each origin: that of the first prefix which the origin's URL has, else the
/// default. A value; reading it is thread-safe.
class FreshnessPolicies {
 public:
  FreshnessPolicies(FreshnessPolicy otherwise = {}) : otherwise_(otherwise) {}  // NOLINT
  /// `url_prefix` without a slash at its end: "s3://bucket", "https://host".
  void add(std::string url_prefix, FreshnessPolicy policy);
  const FreshnessPolicy& of(const Origin& origin) const;
  const FreshnessPolicy& otherwise() const { return otherwise_; }

 private:
  FreshnessPolicy otherwise_;
  std::vector<std::pair<std::string, FreshnessPolicy>> by_prefix_;
};

/// "http", "ttl=60s" (also m, h, d), "always", "immutable" or "offline".
Result<FreshnessPolicy> parse_freshness_policy(std::string_view text);
std::string to_string(const FreshnessPolicy& policy);

/// "90", "90s", "15m", "2h", "1d" to seconds.
Result<std::int64_t> parse_duration_s(std::string_view text);

}  // namespace rangecache::cache
