#include "cache/merge_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr MergeLimits kLimits{.part_size = 256 * kPage, .whole_size = 4096 * kPage};
constexpr std::uint64_t kHuge = std::uint64_t{1} << 40;

std::vector<ByteRange> plan(std::uint64_t size, const std::vector<ByteRange>& chunks) {
  return plan_merges(size, chunks, kLimits);
}

TEST(MergePlan, ACompleteObjectBecomesOneChunk) {
  const std::vector<ByteRange> chunks{{0, 1000 * kPage}, {1000 * kPage, 1000 * kPage + 5}};
  EXPECT_EQ(plan(1000 * kPage + 5, chunks), (std::vector<ByteRange>{{0, 1000 * kPage + 5}}));
  EXPECT_TRUE(plan(1000 * kPage + 6, chunks).empty()) << "its last byte is missing";
}

TEST(MergePlan, AnObjectThatIsTooLargeForOneChunkIsLeftInParts) {
  std::vector<ByteRange> chunks;
  for (std::uint64_t at = 0; at < 8192 * kPage; at += 256 * kPage)
    chunks.push_back({at, at + 256 * kPage});
  EXPECT_TRUE(plan(8192 * kPage, chunks).empty());
}

TEST(MergePlan, ChunksThatDoNotTouchStayAsTheyAre) {
  EXPECT_TRUE(plan(kHuge, {{0, kPage}, {2 * kPage, 3 * kPage}, {4 * kPage, 5 * kPage}}).empty());
  EXPECT_TRUE(plan(kHuge, {{0, kPage}}).empty());
  EXPECT_TRUE(plan(kHuge, {}).empty());
}

TEST(MergePlan, ALargeOneIsNotCopiedForASmallOneBesideIt) {
  const std::vector<ByteRange> chunks{
      {0, kPage}, {kPage, 2 * kPage}, {2 * kPage, 50 * kPage}, {50 * kPage, 51 * kPage}};
  EXPECT_EQ(plan(kHuge, chunks), (std::vector<ByteRange>{{0, 2 * kPage}}));
}

/// Pages of an object arrive one by one in random order; after each few, what is worth it is
/// merged, until nothing is.
TEST(MergePlan, RandomReadsLeaveFewFilesAndCopyEachByteAFewTimes) {
  constexpr std::uint64_t kPages = 8192;  // 32 MiB
  std::mt19937 random(5);
  std::vector<std::uint64_t> order(kPages);
  for (std::uint64_t i = 0; i < kPages; ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), random);
  std::map<std::uint64_t, std::uint64_t> chunks;  // begin, end
  std::uint64_t copied = 0;
  for (std::uint64_t n = 0; n < kPages; ++n) {
    chunks[order[n] * kPage] = order[n] * kPage + kPage;
    if (n % 64 != 63) continue;
    for (bool again = true; again;) {
      std::vector<ByteRange> ranges;
      for (const auto& [begin, end] : chunks) ranges.push_back({begin, end});
      const auto merges = plan(kHuge, ranges);
      again = !merges.empty();
      ByteRange last{0, 0};
      for (const ByteRange merge : merges) {
        ASSERT_LE(merge.size(), kLimits.part_size);
        ASSERT_GE(merge.begin, last.end) << "merges of one plan do not overlap";
        last = merge;
        const auto first = chunks.find(merge.begin);
        ASSERT_NE(first, chunks.end());
        auto it = first;
        std::uint64_t at = merge.begin;
        std::size_t members = 0;
        for (; it != chunks.end() && it->first < merge.end; ++it, ++members) {
          ASSERT_EQ(it->first, at);
          at = it->second;
        }
        ASSERT_EQ(at, merge.end);
        ASSERT_GE(members, 2u);
        chunks.erase(first, it);
        chunks[merge.begin] = merge.end;
        copied += merge.size();
      }
    }
  }
  // All is there: within any two neighbouring parts of part_size the sizes at least double.
  EXPECT_LE(chunks.size(), kPages * kPage / kLimits.part_size * 8);
  EXPECT_LE(copied, kPages * kPage * 9) << "log2(256 pages) + 1 times";
}

}  // namespace
}  // namespace rangecache::cache
