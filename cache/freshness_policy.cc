#include "cache/freshness_policy.h"

#include <fmt/format.h>

#include <charconv>

namespace rangecache::cache {
namespace {

constexpr std::int64_t kForever_s = 10LL * 365 * 24 * 3600;
constexpr std::int64_t kDefaultListing_s = 10;

}  // namespace

std::int64_t FreshnessPolicy::lifetime_s(const Freshness& response) const {
  switch (kind) {
    case Kind::kHttp:
      return response.no_store ? 0 : response.lifetime_s;
    case Kind::kTtl:
      return ttl_s;
    case Kind::kAlways:
      return 0;
    case Kind::kImmutable:
    case Kind::kOffline:
      return kForever_s;
  }
  return 0;
}

std::int64_t FreshnessPolicy::listing_lifetime_s(const Freshness& response) const {
  switch (kind) {
    case Kind::kHttp:
      return response.explicit_lifetime ? response.lifetime_s : kDefaultListing_s;
    case Kind::kAlways:
      return 1;  // one `ls -l` is one look at the directory
    default:
      return lifetime_s(response);
  }
}

Result<std::int64_t> parse_duration_s(std::string_view text) {
  std::int64_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(rest, text.data() + text.size() - rest);
  std::int64_t scale = 0;
  if (unit.empty() || unit == "s") scale = 1;
  if (unit == "m") scale = 60;
  if (unit == "h") scale = 3600;
  if (unit == "d") scale = 86400;
  if (error != std::errc{} || number < 0 || scale == 0 || number > kForever_s / scale) {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("'{}' is not a duration: write 90s, 15m, 2h or 1d", text));
  }
  return number * scale;
}

Result<FreshnessPolicy> parse_freshness_policy(std::string_view text) {
  using Kind = FreshnessPolicy::Kind;
  FreshnessPolicy policy;
  if (text == "http") return policy;
  if (text == "always")
    policy.kind = Kind::kAlways;
  else if (text == "immutable")
    policy.kind = Kind::kImmutable;
  else if (text == "offline")
    policy.kind = Kind::kOffline;
  else if (text.substr(0, 4) == "ttl=") {
    policy.kind = Kind::kTtl;
    RC_ASSIGN(policy.ttl_s, parse_duration_s(text.substr(4)));
  } else {
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("freshness '{}': use http, ttl=<time>, always, immutable or offline", text));
  }
  return policy;
}

std::string to_string(const FreshnessPolicy& policy) {
  using Kind = FreshnessPolicy::Kind;
  switch (policy.kind) {
    case Kind::kHttp:
      return "http";
    case Kind::kTtl:
      return fmt::format("ttl={}s", policy.ttl_s);
    case Kind::kAlways:
      return "always";
    case Kind::kImmutable:
      return "immutable";
    case Kind::kOffline:
      return "offline";
  }
  return "http";
}

}  // namespace rangecache::cache
