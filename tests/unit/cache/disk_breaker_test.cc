#include "cache/disk_breaker.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "base/file_system.h"
#include "base/log.h"

namespace rangecache::cache {
namespace {

using Fault = DiskBreaker::Fault;

class DiskBreakerTest : public testing::Test {
 protected:
  DiskBreakerTest() { set_log_level(LogLevel::kOff); }

  void fail(int times, Fault kind = Fault::kWrite, int error_number = EIO) {
    for (int i = 0; i < times; ++i) breaker_.fault(kind, error_from_errno(error_number, "test"));
  }
  void probe(bool success) {
    ASSERT_TRUE(breaker_.begin_probe());
    breaker_.probed(success ? Result<void>() : Result<void>(error_from_errno(EIO, "test")));
  }

  ManualClock clock_;
  Metrics metrics_;
  DiskBreaker breaker_{clock_, metrics_};
  Gauge& open_ = metrics_.gauge("rangecache_disk_breaker_open", "");
};

TEST_F(DiskBreakerTest, OpensAtTheFifthFaultWithinTenSeconds) {
  fail(4);
  EXPECT_TRUE(breaker_.writes_allowed());
  fail(1);
  EXPECT_FALSE(breaker_.writes_allowed());
  EXPECT_TRUE(breaker_.reads_allowed()) << "no read has failed";
  EXPECT_EQ(open_.value(), 1);
}

TEST_F(DiskBreakerTest, FaultsFarApartAreBorneWith) {
  for (int i = 0; i < 40; ++i) {
    fail(1);
    clock_.advance_s(3);
    ASSERT_TRUE(breaker_.writes_allowed()) << i;
  }
}

TEST_F(DiskBreakerTest, AFullDiskAndAnExhaustedProcessAreNoDiskFaults) {
  for (const int error_number : {ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM}) {
    fail(10, Fault::kWrite, error_number);
    fail(10, Fault::kRead, error_number);
  }
  EXPECT_TRUE(breaker_.writes_allowed());
  fail(5, Fault::kWrite, EROFS);
  EXPECT_FALSE(breaker_.writes_allowed());
}

TEST_F(DiskBreakerTest, ReadsAvoidADiskThatCannotBeRead) {
  fail(4);
  fail(1, Fault::kRead);
  EXPECT_FALSE(breaker_.reads_allowed());
  clock_.advance_s(1);
  probe(true);
  EXPECT_TRUE(breaker_.reads_allowed());

  clock_.advance_s(100);
  fail(5);
  EXPECT_TRUE(breaker_.reads_allowed());
  fail(1, Fault::kRead);
  EXPECT_FALSE(breaker_.reads_allowed()) << "also when the first read fails only now";
}

TEST_F(DiskBreakerTest, ProbesAfterOneTwoFourSecondsUpToAMinute) {
  fail(5);
  for (const std::int64_t delay : {1, 2, 4, 8, 16, 32, 60, 60, 60}) {
    EXPECT_FALSE(breaker_.begin_probe());
    clock_.advance_s(delay - 1);
    EXPECT_FALSE(breaker_.begin_probe()) << delay;
    clock_.advance_s(1);
    probe(false);
    EXPECT_FALSE(breaker_.writes_allowed());
    EXPECT_EQ(open_.value(), 1);
  }
  clock_.advance_s(60);
  probe(true);
  EXPECT_TRUE(breaker_.writes_allowed());
  EXPECT_EQ(open_.value(), 0);
}

TEST_F(DiskBreakerTest, OneThatFailsAgainSoonIsWaitedForLonger) {
  fail(5);
  clock_.advance_s(1);
  probe(true);
  fail(5);
  clock_.advance_s(1);
  EXPECT_FALSE(breaker_.begin_probe());
  clock_.advance_s(1);
  probe(true);
  clock_.advance_s(60);
  fail(5);
  clock_.advance_s(1);
  EXPECT_TRUE(breaker_.begin_probe()) << "a minute of good work earns trust";
}

TEST_F(DiskBreakerTest, ClosedAgainItForgetsOldFaults) {
  fail(5);
  clock_.advance_s(1);
  probe(true);
  fail(4);
  EXPECT_TRUE(breaker_.writes_allowed());
}

TEST_F(DiskBreakerTest, ATripOpensAtOnceAndSaysWhy) {
  breaker_.trip(error_from_errno(ENOSPC, "test"));
  EXPECT_FALSE(breaker_.writes_allowed());
  EXPECT_EQ(breaker_.cause(), ErrorCode::kNoSpace);
  EXPECT_TRUE(breaker_.reads_allowed());
}

}  // namespace
}  // namespace rangecache::cache
