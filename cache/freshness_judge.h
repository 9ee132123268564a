#pragma once

#include <cstdint>
#include <utility>

#include "base/clock.h"
#include "base/origin.h"
#include "cache/freshness_policy.h"
#include "cache/version.h"

namespace rangecache::cache {

/// Says of a version, by what was heard of it and by its origin's policy, what it may be used for
/// now. Immutable; any thread.
class FreshnessJudge {
 public:
  FreshnessJudge(const Clock& clock, FreshnessPolicies policies)
      : clock_(clock), policies_(std::move(policies)) {}

  const FreshnessPolicies& policies() const { return policies_; }
  bool is_offline(const Origin& origin) const {
    return policies_.of(origin).kind == FreshnessPolicy::Kind::kOffline;
  }

  /// May be used unasked.
  bool fresh(const Version& version) const;
  /// Past its time, but to be given at once while the origin is asked (RFC 5861 §3).
  bool usable_meanwhile(const Version& version) const;
  /// ... while the origin cannot answer (§4).
  bool usable_in_need(const Version& version) const;
  /// For how long it may be used unasked; at most an hour.
  std::int64_t valid_for_ms(const Version& version) const;
  /// What is to be remembered of an answer of `origin` that has just said: this one is current.
  Version::Heard heard_now(const Origin& origin, const Freshness& answer) const;

 private:
  const Clock& clock_;
  const FreshnessPolicies policies_;
};

}  // namespace rangecache::cache
