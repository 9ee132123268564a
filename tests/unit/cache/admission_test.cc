#include "cache/admission.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/unit/cache/cache_harness.h"
#include "tests/unit/cache/store_fixture.h"

namespace rangecache::cache {
namespace {

TEST(Admission, AdmitsTheSecondTimeNotTheFirst) {
  Admission admission;
  EXPECT_FALSE(admission.admit(7));
  EXPECT_TRUE(admission.admit(7));
  EXPECT_TRUE(admission.admit(7));
  EXPECT_FALSE(admission.admit(8));
}

TEST(Admission, RemembersAsMuchAsItPromisesAndForgetsInTheEnd) {
  Admission admission;
  std::mt19937_64 random(1);
  admission.admit(1);
  for (std::size_t i = 0; i + 1 < Admission::kKeys; ++i) admission.admit(random());
  EXPECT_TRUE(admission.admit(1));
  // It was entered again just now: two tables of others later nothing is left of it.
  for (std::size_t i = 0; i < 3 * Admission::kKeys; ++i) admission.admit(random());
  int known = 0;
  for (std::uint64_t key = 1; key <= 100; ++key) known += admission.admit(key) ? 1 : 0;
  EXPECT_LT(known, 30) << "by chance, one in ten or so";
}

TEST(Admission, FewStrangersAreTakenForKnown) {
  Admission admission;
  std::mt19937_64 random(2);
  int known = 0;
  constexpr int kTries = 200'000;
  for (int i = 0; i < kTries; ++i) known += admission.admit(random()) ? 1 : 0;
  EXPECT_LT(known, kTries / 20);
}

class AdmissionTest : public TempDirectoryTest {};

TEST_F(AdmissionTest, TheCacheKeepsWhatIsReadASecondTime) {
  CacheOptions options = quiet_options();
  options.directory = directory_;
  options.size_bytes = 64 * kMiB;
  options.memory_bytes = 32 * kMiB;
  options.admit_second_use = true;
  CacheHarness cache(std::move(options));
  ASSERT_TRUE(cache.open(
      [](FakeOrigin& origin) { origin.put("a", {.size = 300'000, .lifetime_s = 3600}); }));
  int fetches = 0;
  for (const bool fetched : {true, true, false, false}) {
    EXPECT_EQ(cache.read_all("a", 1), "");
    cache.settle();
    cache.settle();  // a piece is posted by the flight that ends
    cache.finish_writes();
    EXPECT_EQ(cache.origin().fetches() > fetches, fetched);
    fetches = cache.origin().fetches();
  }
  EXPECT_GT(cache.metric("rangecache_not_admitted_bytes_total"), 0);
  EXPECT_EQ(cache.metric("rangecache_cache_faults_total"), 0);
}

}  // namespace
}  // namespace rangecache::cache
