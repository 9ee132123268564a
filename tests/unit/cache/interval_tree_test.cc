#include "cache/interval_tree.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <vector>

namespace rangecache::cache {
namespace {

struct Item {
  explicit Item(ByteRange r) : range(r) {}
  ByteRange range;
  IntervalHook hook;
};
using Tree = IntervalTree<Item, &Item::hook, &Item::range>;

std::vector<const Item*> overlaps(const Tree& tree, ByteRange range) {
  std::vector<const Item*> found;
  tree.for_each_overlap(range, [&](Item& item) { found.push_back(&item); });
  return found;
}

using Items = std::vector<const Item*>;

TEST(IntervalTree, EmptyTreeFindsNothing) {
  const Tree tree;
  EXPECT_TRUE(tree.empty());
  EXPECT_EQ(tree.first_overlap({0, UINT64_MAX}), nullptr);
  EXPECT_EQ(tree.covering(0), nullptr);
  EXPECT_EQ(tree.first_from(0), nullptr);
  EXPECT_TRUE(overlaps(tree, {0, UINT64_MAX}).empty());
}

TEST(IntervalTree, TouchingRangesDoNotOverlap) {
  Tree tree;
  Item item({10, 20});
  tree.insert(item);
  EXPECT_EQ(tree.first_overlap({0, 10}), nullptr);
  EXPECT_EQ(tree.first_overlap({20, 30}), nullptr);
  EXPECT_EQ(tree.first_overlap({0, 11}), &item);
  EXPECT_EQ(tree.first_overlap({19, 30}), &item);
  EXPECT_TRUE(overlaps(tree, {0, 10}).empty());
  EXPECT_TRUE(overlaps(tree, {20, 30}).empty());
  EXPECT_EQ(tree.covering(9), nullptr);
  EXPECT_EQ(tree.covering(10), &item);
  EXPECT_EQ(tree.covering(19), &item);
  EXPECT_EQ(tree.covering(20), nullptr);
  EXPECT_EQ(tree.first_from(10), &item);
  EXPECT_EQ(tree.first_from(11), nullptr);
}

TEST(IntervalTree, AnEmptyQueryOverlapsNothing) {
  Tree tree;
  Item item({10, 20});
  tree.insert(item);
  EXPECT_EQ(tree.first_overlap({15, 15}), nullptr);
  EXPECT_EQ(tree.first_overlap({18, 12}), nullptr);
  EXPECT_TRUE(overlaps(tree, {15, 15}).empty());
}

TEST(IntervalTree, CoveringPrefersTheGreatestEnd) {
  Tree tree;
  Item short_one({0, 12}), long_one({5, 40}), late({10, 20}), later({11, 100});
  for (Item* item : {&short_one, &long_one, &late, &later}) tree.insert(*item);
  EXPECT_EQ(tree.covering(3), &short_one);
  EXPECT_EQ(tree.covering(10), &long_one);
  EXPECT_EQ(tree.covering(11), &later);
  tree.erase(later);
  EXPECT_EQ(tree.covering(11), &long_one);
}

TEST(IntervalTree, EqualRangesAreKeptApartAndOrderedByAddress) {
  Tree tree;
  std::vector<Item> items(5, Item({7, 9}));
  for (const int i : {3, 1, 4, 0, 2}) tree.insert(items[i]);
  EXPECT_EQ(overlaps(tree, {8, 9}), (Items{&items[0], &items[1], &items[2], &items[3], &items[4]}));
  EXPECT_EQ(tree.first_overlap({0, 8}), &items[0]);
  EXPECT_EQ(tree.covering(7), &items[0]);
  tree.erase(items[0]);
  tree.erase(items[2]);
  EXPECT_EQ(overlaps(tree, {8, 9}), (Items{&items[1], &items[3], &items[4]}));
  EXPECT_EQ(tree.size(), 3u);
}

TEST(IntervalTree, RangesReachTheEndOfTheNumbers) {
  Tree tree;
  constexpr std::uint64_t kLast = (std::uint64_t{1} << 56) - 1;  // the greatest end there is
  Item all({0, kLast}), last({kLast - 1, kLast});
  tree.insert(last);
  tree.insert(all);
  EXPECT_EQ(tree.covering(kLast - 1), &all);
  EXPECT_EQ(tree.covering(kLast), nullptr);
  EXPECT_EQ(tree.first_from(1), &last);
  EXPECT_EQ(overlaps(tree, {kLast - 1, kLast}), (Items{&all, &last}));
}

TEST(IntervalTree, AscendingInsertionsStayBalanced) {
  Tree tree;
  std::deque<Item> items;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    items.emplace_back(ByteRange{i, i + 1});
    tree.insert(items.back());
    ASSERT_TRUE(tree.is_sound());
  }
  for (Item& item : items) {
    tree.erase(item);
    ASSERT_TRUE(tree.is_sound());
  }
  EXPECT_TRUE(tree.empty());
}

TEST(IntervalTree, AnErasedElementCanBeInsertedAgainWithAnotherRange) {
  Tree tree;
  Item item({0, 10});
  tree.insert(item);
  tree.erase(item);
  item.range = {50, 60};
  tree.insert(item);
  EXPECT_EQ(tree.covering(5), nullptr);
  EXPECT_EQ(tree.covering(55), &item);
}

TEST(IntervalTreeDeathTest, MisuseIsCaught) {
  Tree tree;
  Item item({0, 10}), empty({5, 5}), stranger({0, 1});
  tree.insert(item);
  EXPECT_DEATH(tree.insert(item), "height == 0");
  EXPECT_DEATH(tree.insert(empty), "empty");
  EXPECT_DEATH(tree.erase(stranger), "height != 0");
}

}  // namespace
}  // namespace rangecache::cache
