#include "fetcher/origin_health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rangecache::fetcher {
namespace {

using ::testing::HasSubstr;
using State = CircuitBreaker::State;
constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kMs = 1'000'000;

TEST(Budget, ReserveIsSpentThenAShareOfSuccessesRemains) {
  Budget budget(0.25, 3, 0);
  int taken = 0;
  for (int i = 0; i < 100; ++i) taken += budget.take(i);
  EXPECT_EQ(taken, 3);
  for (int i = 0; i < 4; ++i) budget.earn();
  EXPECT_TRUE(budget.take(0));
  EXPECT_FALSE(budget.take(0));
}

TEST(Budget, AnOutageIsNotAmplified) {
  Budget budget(0.2, 100, 1);
  // A thousand readers, for a minute, each failing ten times a second.
  int taken = 0;
  for (std::int64_t ms = 0; ms < 60'000; ms += 100)
    for (int reader = 0; reader < 1000; ++reader) taken += budget.take(ms * kMs);
  EXPECT_LE(taken, 100 + 60);
}

TEST(Budget, GivesBackNoMoreThanItsReserve) {
  Budget budget(1, 2, 0);
  budget.give_back(1000);
  EXPECT_TRUE(budget.take(0));
  EXPECT_TRUE(budget.take(0));
  EXPECT_FALSE(budget.take(0));
}

TEST(CircuitBreaker, OpensAfterFailuresThatLast) {
  CircuitBreaker breaker;
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(breaker.failed(0)) << "a burst is one failure";
  EXPECT_TRUE(breaker.admit(kSecond));
  EXPECT_TRUE(breaker.failed(3 * kSecond));
  EXPECT_EQ(breaker.state(), State::kOpen);
  EXPECT_FALSE(breaker.admit(3 * kSecond + kSecond - 1));
}

TEST(CircuitBreaker, OneAnswerStartsTheCountAnew) {
  CircuitBreaker breaker;
  for (int i = 0; i < 10; ++i) breaker.failed(i * kSecond / 10);
  breaker.answered();
  EXPECT_FALSE(breaker.failed(10 * kSecond));
  EXPECT_EQ(breaker.state(), State::kClosed);
}

class OpenBreaker : public ::testing::Test {
 protected:
  OpenBreaker() {
    for (int i = 0; i <= 5; ++i) breaker_.failed(i * kSecond);
  }
  CircuitBreaker breaker_;
};

TEST_F(OpenBreaker, LetsOneThroughAfterItsPause) {
  EXPECT_EQ(breaker_.open_until_ns(), 5 * kSecond);  // open since the fourth second
  EXPECT_TRUE(breaker_.admit(6 * kSecond));
  EXPECT_EQ(breaker_.state(), State::kHalfOpen);
  EXPECT_FALSE(breaker_.admit(6 * kSecond));
  breaker_.answered();
  EXPECT_TRUE(breaker_.admit(6 * kSecond));
  EXPECT_EQ(breaker_.failures_in_a_row(), 0);
}

TEST_F(OpenBreaker, ATryThatHangsDoesNotKeepOthersFromTrying) {
  ASSERT_TRUE(breaker_.admit(6 * kSecond));
  EXPECT_FALSE(breaker_.admit(7 * kSecond - 1));
  EXPECT_TRUE(breaker_.admit(7 * kSecond));
  breaker_.answered();
  EXPECT_FALSE(breaker_.failed(36 * kSecond)) << "the one that hung";
  EXPECT_TRUE(breaker_.admit(36 * kSecond));
}

TEST_F(OpenBreaker, PausesTwiceAsLongUpToALimit) {
  std::int64_t now = 10 * kSecond;
  for (const int pause_s : {2, 4, 8, 10, 10}) {
    ASSERT_TRUE(breaker_.admit(now));
    EXPECT_FALSE(breaker_.failed(now)) << "it was open before";
    EXPECT_EQ(breaker_.open_until_ns(), now + pause_s * kSecond);
    now = breaker_.open_until_ns();
  }
}

TEST_F(OpenBreaker, AnAbandonedTryIsFollowedByAnother) {
  ASSERT_TRUE(breaker_.admit(6 * kSecond));
  breaker_.abandoned();
  EXPECT_TRUE(breaker_.admit(6 * kSecond));
}

TEST_F(OpenBreaker, FailuresOfWhatWasSentBeforeDoNotProlongIt) {
  const auto until = breaker_.open_until_ns();
  EXPECT_FALSE(breaker_.failed(until - 1));
  EXPECT_EQ(breaker_.open_until_ns(), until);
}

TEST(ConcurrencyLimit, HalvesOncePerBurstAndClimbsBack) {
  ConcurrencyLimit limit(32);
  for (int i = 0; i < 32; ++i) limit.slowed(/*sent*/ i, /*now*/ 100 + i);
  EXPECT_EQ(limit.limit(), 16);
  limit.slowed(200, 300);
  EXPECT_EQ(limit.limit(), 8);
  for (int i = 0; i < 9; ++i) limit.answered();
  EXPECT_EQ(limit.limit(), 9) << "one more for each round of answers";
  for (int i = 0; i < 10'000; ++i) limit.answered();
  EXPECT_EQ(limit.limit(), 32);
  for (int i = 0; i < 100; ++i) limit.slowed(1000 + i, 1000 + i);
  EXPECT_EQ(limit.limit(), 1);
}

TEST(LatencyWindow, TellsQuantilesOfTheLastOnly) {
  LatencyWindow window;
  for (int i = 1; i < 20; ++i) window.record_ns(i);
  EXPECT_FALSE(window.quantile_ns(0.95));
  window.record_ns(20);
  EXPECT_EQ(window.quantile_ns(0.5), 11);
  EXPECT_EQ(window.quantile_ns(0.95), 20);
  for (int i = 0; i < 128; ++i) window.record_ns(1000);
  EXPECT_EQ(window.quantile_ns(0), 1000);
}

class OriginHealthTest : public ::testing::Test {
 protected:
  Metrics metrics_;
  OriginMetrics numbers_{metrics_};
  OriginHealth health_{"http://server:80", 32, OriginLimits{}, numbers_};
  const Error broken_{ErrorCode::kUnreachable, "connection refused"};
};

TEST_F(OriginHealthTest, RefusesWhatWouldFailAndSaysWhy) {
  for (int i = 0; i <= 4; ++i) {
    EXPECT_FALSE(health_.refusal(i * kSecond));
    health_.failed(broken_, false, i * kSecond, i * kSecond);
  }
  EXPECT_EQ(numbers_.unreachable.value(), 1);
  const auto refusal = health_.refusal(4 * kSecond);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->code, ErrorCode::kUnreachable);
  EXPECT_THAT(refusal->context, HasSubstr("http://server:80 does not answer (connection refused)"));
  EXPECT_THAT(health_.status().last_error, HasSubstr("connection refused"));

  EXPECT_FALSE(health_.refusal(9 * kSecond));  // the one that tries
  health_.answered(404, 9 * kSecond, 9 * kSecond, true);
  EXPECT_FALSE(health_.refusal(9 * kSecond));
  EXPECT_EQ(numbers_.unreachable.value(), 0);
}

TEST_F(OriginHealthTest, BusyIsNotBroken) {
  for (int i = 0; i < 100; ++i) health_.answered(503, i * kSecond, i * kSecond, true);
  EXPECT_FALSE(health_.refusal(100 * kSecond));
  EXPECT_EQ(health_.places(), 1);
  for (int i = 0; i < 10'000; ++i) health_.answered(206, 200 * kSecond, 200 * kSecond, true);
  EXPECT_EQ(health_.places(), 32);
}

TEST_F(OriginHealthTest, AnObjectThatIsBrokenIsNoOutage) {
  for (int i = 0; i < 100; ++i) health_.answered(500, i * kSecond, i * kSecond, true);
  EXPECT_FALSE(health_.refusal(100 * kSecond));
  for (int i = 0; i < 5; ++i) health_.answered(504, i * kSecond, i * kSecond, true);
  EXPECT_TRUE(health_.refusal(4 * kSecond)) << "that is what a proxy says of an outage";
}

TEST_F(OriginHealthTest, ReadersThatLeaveSayNothing) {
  for (int i = 0; i < 100; ++i)
    health_.failed({ErrorCode::kCancelled, ""}, false, i * kSecond, i * kSecond);
  EXPECT_FALSE(health_.refusal(100 * kSecond));
}

TEST_F(OriginHealthTest, SaysThatItDoesNotTryAgain) {
  HttpFailure failure{broken_, true};
  int retries = 0;
  while (health_.retry_delay_ms(1, failure, 0, 0)) ++retries;
  EXPECT_EQ(retries, 100);
  EXPECT_THAT(failure.error.context, HasSubstr("too many requests to this server fail"));
  EXPECT_EQ(numbers_.unretried.value(), 1u);
  // A retry that helped costs nothing.
  health_.succeeded(1);
  HttpFailure next{broken_, true};
  EXPECT_TRUE(health_.retry_delay_ms(1, next, 0, 0));
}

TEST_F(OriginHealthTest, HedgesAboveTheUsualTimeOnABudget) {
  EXPECT_FALSE(health_.hedge_delay_ms());
  for (int i = 0; i < 100; ++i) health_.answered(206, 0, 200 * kMs, true);
  EXPECT_EQ(health_.hedge_delay_ms(), 201);
  int hedges = 0;
  for (int i = 0; i < 100; ++i) hedges += health_.may_hedge(i);
  EXPECT_EQ(hedges, 10);
  for (int i = 0; i < 40; ++i) health_.answered(206, 0, 200 * kMs, true);
  for (int i = 0; i < 100; ++i) hedges += health_.may_hedge(i);
  EXPECT_EQ(hedges, 12) << "one for twenty requests";
}

TEST_F(OriginHealthTest, NearServersAreNotHedgedForAFewMilliseconds) {
  for (int i = 0; i < 100; ++i) health_.answered(206, 0, kMs, true);
  EXPECT_EQ(health_.hedge_delay_ms(), 50);
}

}  // namespace
}  // namespace rangecache::fetcher
