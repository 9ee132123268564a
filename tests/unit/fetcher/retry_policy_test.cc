#include "fetcher/retry_policy.h"

#include <gtest/gtest.h>

namespace rangecache::fetcher {
namespace {

TEST(RetryPolicy, GivesUpAfterTheLastAttempt) {
  const RetryPolicy policy;
  EXPECT_TRUE(policy.delay_ms(3, {}, 0));
  EXPECT_FALSE(policy.delay_ms(4, {}, 0));
}

TEST(RetryPolicy, JitterIsFullAndItsCeilingDoubles) {
  RetryPolicy policy;
  policy.max_attempts = 1000;
  for (const auto& [failures, ceiling] :
       {std::pair{1, 50}, {2, 100}, {5, 800}, {7, 2000}, {999, 2000}}) {
    EXPECT_EQ(policy.delay_ms(failures, {}, 0), 0);
    EXPECT_EQ(policy.delay_ms(failures, {}, static_cast<std::uint64_t>(ceiling)), ceiling);
    EXPECT_LE(*policy.delay_ms(failures, {}, UINT64_MAX), ceiling);
  }
}

TEST(RetryPolicy, HT30_RetryAfterIsHonouredUpToItsCap) {
  const RetryPolicy policy;
  EXPECT_EQ(policy.delay_ms(1, 2, 0), 2000);
  EXPECT_EQ(policy.delay_ms(1, 1'000'000'000, 7), 30'000);
  EXPECT_EQ(policy.delay_ms(1, INT64_MAX, 7), 30'000);
  EXPECT_EQ(policy.delay_ms(1, 0, 7), 7);
}

}  // namespace
}  // namespace rangecache::fetcher
