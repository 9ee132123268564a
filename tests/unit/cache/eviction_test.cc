#include "cache/eviction.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kPage = EvictionHook::kPageSize;

struct Entry : EvictionHook {
  explicit Entry(std::uint32_t key, std::uint32_t weight = 1) {
    ghost_key = key;
    pages = weight;
  }
};

std::uint64_t evict_one(EvictionPolicy& policy) {
  EvictionHook* victim = policy.victim();
  if (!victim) return UINT64_MAX;
  policy.remove(*victim);
  return victim->ghost_key;
}

class AnyPolicy : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<EvictionPolicy> policy_ =
      std::string_view(GetParam()) == "lru" ? make_lru() : make_s3_fifo(100 * kPage);
};
INSTANTIATE_TEST_SUITE_P(, AnyPolicy, testing::Values("lru", "s3fifo"),
                         [](const auto& tested) { return tested.param; });

TEST_P(AnyPolicy, EmptyHasNoVictim) {
  EXPECT_EQ(policy_->victim(), nullptr);
  EXPECT_EQ(policy_->bytes(), 0u);
}

TEST_P(AnyPolicy, AVictimStaysUntilItIsRemoved) {
  Entry entry(1, 10);
  policy_->insert(entry);
  EXPECT_EQ(policy_->victim(), &entry);
  EXPECT_EQ(policy_->victim(), &entry);
  EXPECT_EQ(policy_->bytes(), 10 * kPage);
  policy_->remove(entry);
  EXPECT_EQ(policy_->victim(), nullptr);
  EXPECT_EQ(policy_->bytes(), 0u);
}

TEST_P(AnyPolicy, UntouchedEntriesLeaveInOrderOfArrival) {
  std::deque<Entry> entries;
  for (std::uint64_t i = 0; i < 50; ++i) policy_->insert(entries.emplace_back(i));
  for (std::uint64_t i = 0; i < 50; ++i) EXPECT_EQ(evict_one(*policy_), i);
}

TEST_P(AnyPolicy, AHotEntryOutlivesColdOnes) {
  std::deque<Entry> entries;
  for (std::uint64_t i = 0; i < 50; ++i) policy_->insert(entries.emplace_back(i));
  for (int i = 0; i < 3; ++i) policy_->touched(entries[0]);
  for (std::uint64_t i = 1; i < 40; ++i) EXPECT_EQ(evict_one(*policy_), i);
}

TEST_P(AnyPolicy, EverythingLeavesHoweverHot) {
  std::deque<Entry> entries;
  for (std::uint64_t i = 0; i < 50; ++i) {
    policy_->insert(entries.emplace_back(i));
    for (int t = 0; t < 10; ++t) policy_->touched(entries.back());
  }
  for (int i = 0; i < 50; ++i) EXPECT_NE(evict_one(*policy_), UINT64_MAX);
  EXPECT_EQ(policy_->victim(), nullptr);
}

TEST_P(AnyPolicy, EntriesFromTheMiddleCanGo) {
  std::deque<Entry> entries;
  for (std::uint64_t i = 0; i < 5; ++i) policy_->insert(entries.emplace_back(i, 7));
  for (const int i : {2, 0, 4}) policy_->remove(entries[i]);
  EXPECT_EQ(policy_->bytes(), 14 * kPage);
  EXPECT_EQ(evict_one(*policy_), 1u);
  EXPECT_EQ(evict_one(*policy_), 3u);
  EXPECT_EQ(evict_one(*policy_), UINT64_MAX);
}

TEST_P(AnyPolicy, ReadersMayTouchWhileItWorks) {
  std::deque<Entry> entries;
  for (std::uint64_t i = 0; i < 64; ++i) entries.emplace_back(i);
  std::atomic<bool> done{false};
  std::vector<std::thread> readers;
  for (unsigned t = 0; t < 3; ++t) {
    readers.emplace_back([&, t] {
      std::mt19937 random(t);
      while (!done) policy_->touched(entries[random() % entries.size()]);
    });
  }
  for (Entry& entry : entries) policy_->insert(entry);
  for (int i = 0; i < 20'000; ++i) {
    EvictionHook* victim = policy_->victim();
    if (!victim) break;
    policy_->remove(*victim);
    policy_->insert(*victim);
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_EQ(policy_->bytes(), entries.size() * kPage);
}

TEST(Lru, EvictsExactlyTheLeastRecentlyUsed) {
  std::mt19937 random(3);
  const auto policy = make_lru();
  std::deque<Entry> entries;
  std::vector<std::uint64_t> order;  // least recently used first
  for (std::uint64_t i = 0; i < 200; ++i) {
    policy->insert(entries.emplace_back(i));
    order.push_back(i);
  }
  while (!order.empty()) {
    for (int t = 0; t < 20; ++t) {
      const auto used = order.begin() + static_cast<std::ptrdiff_t>(random() % order.size());
      policy->touched(entries[*used]);
      std::rotate(used, used + 1, order.end());
    }
    ASSERT_EQ(evict_one(*policy), order.front());
    order.erase(order.begin());
  }
}

TEST(S3Fifo, WhoComesBackSoonAfterEvictionGoesToTheMainQueue) {
  const auto policy = make_s3_fifo(100 * kPage);
  Entry returning(1);
  policy->insert(returning);
  ASSERT_EQ(evict_one(*policy), 1u);
  policy->insert(returning);  // its ghost is known
  std::deque<Entry> scan;
  for (std::uint64_t i = 100; i < 150; ++i) policy->insert(scan.emplace_back(i));
  // The small queue is over its tenth: the scan goes first although it came later.
  for (std::uint64_t i = 100; i < 140; ++i) EXPECT_EQ(evict_one(*policy), i);
  EXPECT_EQ(evict_one(*policy), 1u);
}

TEST(S3Fifo, OneUseInTheSmallQueueIsNotEnoughToStay) {
  const auto policy = make_s3_fifo(100 * kPage);
  std::deque<Entry> entries;
  for (std::uint64_t i = 0; i < 30; ++i) policy->insert(entries.emplace_back(i));
  policy->touched(entries[0]);
  policy->touched(entries[1]);
  policy->touched(entries[1]);
  EXPECT_EQ(evict_one(*policy), 0u);
  EXPECT_EQ(evict_one(*policy), 2u);
}

TEST(S3Fifo, QueuesAreWeighedByBytesNotByCount) {
  const auto policy = make_s3_fifo(100 * kPage);
  Entry in_main(1, 50), big(2, 11);
  policy->insert(in_main);
  ASSERT_EQ(evict_one(*policy), 1u);
  policy->insert(in_main);
  policy->insert(big);  // alone, but more than a tenth of the limit
  EXPECT_EQ(evict_one(*policy), 2u);
}

TEST(S3Fifo, GhostsAreForgottenInTheEnd) {
  const auto policy = make_s3_fifo(100 * kPage);
  Entry old(1);
  policy->insert(old);
  ASSERT_EQ(evict_one(*policy), 1u);
  std::deque<Entry> scan;
  for (std::uint64_t i = 1000; i < 2000; ++i) {
    policy->insert(scan.emplace_back(i));
    evict_one(*policy);
  }
  policy->insert(old);
  std::deque<Entry> later;
  for (std::uint64_t i = 5000; i < 5020; ++i) policy->insert(later.emplace_back(i));
  EXPECT_EQ(evict_one(*policy), 1u);  // a newcomer like the others, and the first of them
}

/// The share of requests of `trace` that a cache of `capacity` entries answers.
double hit_ratio(EvictionPolicy& policy, std::size_t capacity,
                 const std::vector<std::uint64_t>& trace) {
  std::unordered_map<std::uint64_t, std::unique_ptr<Entry>> cached;
  std::size_t hits = 0;
  for (const std::uint64_t key : trace) {
    if (const auto found = cached.find(key); found != cached.end()) {
      ++hits;
      policy.touched(*found->second);
      continue;
    }
    while (policy.bytes() >= capacity * kPage) cached.erase(evict_one(policy));
    auto entry = std::make_unique<Entry>(static_cast<std::uint32_t>(key));
    policy.insert(*entry);
    cached.emplace(key, std::move(entry));
  }
  return static_cast<double>(hits) / static_cast<double>(trace.size());
}

/// Requests to 10 000 objects by Zipf's law, broken by scans of objects that never come again.
std::vector<std::uint64_t> zipf_with_scans(std::uint32_t seed) {
  constexpr int kObjects = 10'000;
  std::vector<double> weights;
  for (int i = 1; i <= kObjects; ++i) weights.push_back(1.0 / i);
  std::discrete_distribution<std::uint64_t> zipf(weights.begin(), weights.end());
  std::mt19937 random(seed);
  std::vector<std::uint64_t> trace;
  std::uint64_t never_seen = kObjects;
  for (int round = 0; round < 100; ++round) {
    for (int i = 0; i < 2000; ++i) trace.push_back(zipf(random));
    for (int i = 0; i < 1000; ++i) trace.push_back(never_seen++);
  }
  return trace;
}

TEST(S3Fifo, ScansDoNotDisplaceWhatIsUsedAgainAndAgain) {
  constexpr std::size_t kCapacity = 1000;
  const auto trace = zipf_with_scans(42);
  const auto s3_fifo = make_s3_fifo(kCapacity * kPage);
  const auto lru = make_lru();
  const double with_s3_fifo = hit_ratio(*s3_fifo, kCapacity, trace);
  const double with_lru = hit_ratio(*lru, kCapacity, trace);
  RecordProperty("s3_fifo", std::to_string(with_s3_fifo));
  RecordProperty("lru", std::to_string(with_lru));
  EXPECT_GT(with_s3_fifo, with_lru + 0.05) << "lru " << with_lru;
}

}  // namespace
}  // namespace rangecache::cache
