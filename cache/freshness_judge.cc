#include "cache/freshness_judge.h"

#include <algorithm>

namespace rangecache::cache {
namespace {

constexpr std::int64_t kMaxValid_ms = 3'600'000;

std::uint32_t saturated(std::int64_t seconds) {
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(seconds, 0, UINT32_MAX));
}

}  // namespace

bool FreshnessJudge::fresh(const Version& version) const {
  const FreshnessPolicy& policy = policies_.of(*version.origin());
  if (policy.kind == FreshnessPolicy::Kind::kOffline) return true;
  const Version::Heard heard = version.heard();
  if (policy.kind == FreshnessPolicy::Kind::kImmutable && heard.fresh_until_s != 0) return true;
  return heard.current && clock_.unix_s() < heard.fresh_until_s;
}

bool FreshnessJudge::usable_meanwhile(const Version& version) const {
  const Version::Heard heard = version.heard();
  return policies_.of(*version.origin()).kind == FreshnessPolicy::Kind::kHttp && heard.current &&
         !heard.must_revalidate && heard.fresh_until_s != 0 &&
         clock_.unix_s() < heard.fresh_until_s + heard.stale_while_revalidate_s;
}

bool FreshnessJudge::usable_in_need(const Version& version) const {
  const Version::Heard heard = version.heard();
  const FreshnessPolicy& policy = policies_.of(*version.origin());
  const std::int64_t told_s =
      policy.kind == FreshnessPolicy::Kind::kHttp ? heard.stale_if_error_s : 0;
  return !heard.must_revalidate &&
         clock_.unix_s() < heard.fresh_until_s + std::max(policy.stale_if_error_s, told_s);
}

std::int64_t FreshnessJudge::valid_for_ms(const Version& version) const {
  const std::int64_t left_s = version.heard().fresh_until_s - clock_.unix_s();
  return std::clamp<std::int64_t>(left_s * 1000, 0, kMaxValid_ms);
}

Version::Heard FreshnessJudge::heard_now(const Origin& origin, const Freshness& answer) const {
  const std::int64_t now = clock_.unix_s();
  return {.validated_s = now,
          .fresh_until_s = now + policies_.of(origin).lifetime_s(answer),
          .stale_while_revalidate_s = saturated(answer.stale_while_revalidate_s),
          .stale_if_error_s = saturated(answer.stale_if_error_s),
          .must_revalidate = answer.must_revalidate,
          .current = true};
}

}  // namespace rangecache::cache
