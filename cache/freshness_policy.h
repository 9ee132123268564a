#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/origin.h"
#include "cache/per_origin.h"
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

using FreshnessPolicies = PerOrigin<FreshnessPolicy>;

/// "http", "ttl=60s" (also m, h, d), "always", "immutable" or "offline".
Result<FreshnessPolicy> parse_freshness_policy(std::string_view text);
std::string to_string(const FreshnessPolicy& policy);

/// "90", "90s", "15m", "2h", "1d" to seconds.
Result<std::int64_t> parse_duration_s(std::string_view text);

}  // namespace rangecache::cache
