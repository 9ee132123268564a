#include "fetcher/retry_policy.h"

#include <gtest/gtest.h>

namespace rangecache::fetcher {
namespace {

TEST(RetryPolicy, GivesUpAfterTheLastAttempt) {
  const RetryPolicy policy;
  EXPECT_TRUE(policy.delay_ms(5, 0, {}, 0));
  EXPECT_FALSE(policy.delay_ms(6, 0, {}, 0));
}

TEST(RetryPolicy, GivesUpAfterItsDeadline) {
  const RetryPolicy policy;
  EXPECT_TRUE(policy.delay_ms(1, 59'999, {}, 0));
  EXPECT_FALSE(policy.delay_ms(1, 60'000, {}, 0));
}

TEST(RetryPolicy, JitterIsFullAndItsCeilingDoubles) {
  RetryPolicy policy;
  policy.max_attempts = 1000;
  for (const auto& [failures, ceiling] :
       {std::pair{1, 100}, {2, 200}, {4, 800}, {6, 2000}, {999, 2000}}) {
    EXPECT_EQ(policy.delay_ms(failures, 0, {}, 0), 0);
    EXPECT_EQ(policy.delay_ms(failures, 0, {}, static_cast<std::uint64_t>(ceiling)), ceiling);
    EXPECT_LE(*policy.delay_ms(failures, 0, {}, UINT64_MAX), ceiling);
  }
}

TEST(RetryPolicy, HT30_RetryAfterIsHonouredUpToItsCap) {
  const RetryPolicy policy;
  EXPECT_EQ(policy.delay_ms(1, 0, 2, 0), 2000);
  EXPECT_EQ(policy.delay_ms(1, 0, 1'000'000'000, 7), 30'000);
  EXPECT_EQ(policy.delay_ms(1, 0, INT64_MAX, 7), 30'000);
  EXPECT_EQ(policy.delay_ms(1, 0, 0, 7), 7);
}

}  // namespace
}  // namespace rangecache::fetcher
