#include "cache/ledger.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

namespace rangecache::cache {
namespace {

TEST(Ledger, ReservesUpToTheLimitAndNotOneByteMore) {
  Metrics metrics;
  Ledger ledger(100, metrics);
  EXPECT_TRUE(ledger.try_reserve(60));
  EXPECT_FALSE(ledger.try_reserve(41));
  EXPECT_EQ(ledger.used(), 60u);
  EXPECT_TRUE(ledger.try_reserve(40));
  EXPECT_FALSE(ledger.try_reserve(1));
  ledger.release(1);
  EXPECT_TRUE(ledger.try_reserve(1));
}

TEST(Ledger, HugeRequestsDoNotWrapAround) {
  Metrics metrics;
  Ledger ledger(100, metrics);
  ASSERT_TRUE(ledger.try_reserve(50));
  EXPECT_FALSE(ledger.try_reserve(UINT64_MAX));
  EXPECT_FALSE(ledger.try_reserve(UINT64_MAX - 40));
  EXPECT_EQ(ledger.used(), 50u);
}

TEST(Ledger, WhatExistsCountsEvenAboveTheLimit) {
  Metrics metrics;
  Ledger ledger(100, metrics);
  ledger.charge_existing(150);
  EXPECT_EQ(ledger.used(), 150u);
  EXPECT_FALSE(ledger.try_reserve(1));
  ledger.release(51);
  EXPECT_TRUE(ledger.try_reserve(1));
}

TEST(Ledger, TheGaugesSayWhatItSays) {
  Metrics metrics;
  Ledger ledger(100, metrics);
  ASSERT_TRUE(ledger.try_reserve(30));
  ledger.charge_existing(20);
  ledger.release(5);
  EXPECT_EQ(metrics.gauge("rangecache_disk_bytes", "").value(), 45);
  EXPECT_EQ(metrics.gauge("rangecache_disk_limit_bytes", "").value(), 100);
}

TEST(Ledger, AChunkIsChargedWholeBlocksAndOneMore) {
  EXPECT_EQ(Ledger::chunk_charge(1), 8192u);
  EXPECT_EQ(Ledger::chunk_charge(4096), 8192u);
  EXPECT_EQ(Ledger::chunk_charge(4097), 12288u);
}

TEST(Ledger, ManyThreadsNeverGetMoreThanTheLimit) {
  constexpr std::uint64_t kLimit = 1000;
  Metrics metrics;
  Ledger ledger(kLimit, metrics);
  // Counted up after a reservation and down before a release: never more than what is reserved.
  std::atomic<std::uint64_t> held{0};
  std::atomic<bool> exceeded{false};
  std::atomic<std::uint64_t> refused{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(t);
      std::vector<std::uint64_t> mine;
      for (int i = 0; i < 50'000; ++i) {
        const std::uint64_t bytes = 1 + random() % 300;
        if (random() % 2 && ledger.try_reserve(bytes)) {
          if (held.fetch_add(bytes) + bytes > kLimit || ledger.used() > kLimit) exceeded = true;
          mine.push_back(bytes);
        } else if (!mine.empty()) {
          refused.fetch_add(1);
          held.fetch_sub(mine.back());
          ledger.release(mine.back());
          mine.pop_back();
        }
      }
      for (const std::uint64_t bytes : mine) {
        held.fetch_sub(bytes);
        ledger.release(bytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(exceeded);
  EXPECT_GT(refused, 0u);
  EXPECT_EQ(ledger.used(), 0u);
}

TEST(LedgerDeathTest, ReleasingMoreThanWasTakenIsABug) {
  Metrics metrics;
  Ledger ledger(100, metrics);
  ASSERT_TRUE(ledger.try_reserve(10));
  EXPECT_DEATH(ledger.release(11), "bytes <= before");
}

TEST(Charge, ReleasesOnceHoweverItIsMoved) {
  Metrics metrics;
  Ledger ledger(100, metrics);
  ASSERT_TRUE(ledger.try_reserve(30));
  {
    Charge first(ledger, 30);
    Charge second(std::move(first));
    Charge third;
    third = std::move(second);
    EXPECT_EQ(third.bytes(), 30u);
    EXPECT_EQ(ledger.used(), 30u);
  }
  EXPECT_EQ(ledger.used(), 0u);
}

TEST(Charge, AssigningReleasesWhatWasHeldBefore) {
  Metrics metrics;
  Ledger ledger(100, metrics);
  ASSERT_TRUE(ledger.try_reserve(30));
  Charge charge(ledger, 20);
  charge = Charge(ledger, 10);
  EXPECT_EQ(ledger.used(), 10u);
  charge = {};
  EXPECT_EQ(ledger.used(), 0u);
}

}  // namespace
}  // namespace rangecache::cache
