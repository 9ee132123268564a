// The interval tree against a plain vector: seeded random operations, every answer compared after
// each step. A failure prints its seed; RANGECACHE_SEED=<seed> runs that one alone,
// RANGECACHE_SEEDS=<n> so many of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "cache/interval_tree.h"

namespace rangecache::cache {
namespace {

struct Item {
  ByteRange range;
  IntervalHook hook;
  bool inserted = false;
};
using Tree = IntervalTree<Item, &Item::hook, &Item::range>;

/// The same questions, answered by looking at every element.
class Reference {
 public:
  void insert(Item& item) {
    items_.insert(std::upper_bound(items_.begin(), items_.end(), &item, before), &item);
  }
  void erase(Item& item) { items_.erase(std::find(items_.begin(), items_.end(), &item)); }

  std::vector<Item*> overlaps(ByteRange range) const {
    std::vector<Item*> found;
    for (Item* item : items_) {
      if (item->range.overlaps(range)) found.push_back(item);
    }
    return found;
  }
  Item* covering(std::uint64_t offset) const {
    Item* best = nullptr;
    for (Item* item : items_) {
      if (item->range.contains(offset) && (!best || item->range.end > best->range.end)) best = item;
    }
    return best;
  }
  Item* first_from(std::uint64_t offset) const {
    for (Item* item : items_) {
      if (item->range.begin >= offset) return item;
    }
    return nullptr;
  }
  std::size_t size() const { return items_.size(); }

 private:
  static bool before(const Item* a, const Item* b) {
    return a->range.begin != b->range.begin ? a->range.begin < b->range.begin : a < b;
  }
  std::vector<Item*> items_;
};

/// One run: up to `elements` ranges within [0, space), none longer than `longest`.
struct Shape {
  std::size_t elements;
  std::uint64_t space;
  std::uint64_t longest;
  int operations;
};

class Comparison {
 public:
  Comparison(const Shape& shape, std::uint64_t seed)
      : shape_(shape), random_(seed), items_(shape.elements) {}

  void run() {
    for (int i = 0; i < shape_.operations && !testing::Test::HasFailure(); ++i) step(i);
  }

 private:
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  ByteRange any_range(std::uint64_t shortest) {
    const std::uint64_t begin = below(shape_.space);
    return {begin, begin + shortest + below(shape_.longest + 1 - shortest)};
  }

  void step(int i) {
    // Phases that rather fill and phases that rather empty, so that all sizes occur, none too.
    const bool filling = i / 3000 % 2 == 0;
    Item& item = items_[below(items_.size())];
    if (item.inserted ? !filling || below(8) == 0 : filling || below(8) == 0) {
      item.inserted ? erase(item) : insert(item);
      ASSERT_EQ(tree_.size(), reference_.size()) << "operation " << i;
      if (below(64) == 0) {
        ASSERT_TRUE(tree_.is_sound()) << "operation " << i;
      }
    }
    const ByteRange asked = any_range(0);
    const auto expected = reference_.overlaps(asked);
    found_.clear();
    tree_.for_each_overlap(asked, [this](Item& f) { found_.push_back(&f); });
    ASSERT_EQ(found_, expected) << "operation " << i;
    ASSERT_EQ(tree_.first_overlap(asked), expected.empty() ? nullptr : expected.front())
        << "operation " << i;
    ASSERT_EQ(tree_.covering(asked.begin), reference_.covering(asked.begin)) << "operation " << i;
    ASSERT_EQ(tree_.first_from(asked.end), reference_.first_from(asked.end)) << "operation " << i;
  }
  void insert(Item& item) {
    item.range = any_range(1);
    item.inserted = true;
    tree_.insert(item);
    reference_.insert(item);
  }
  void erase(Item& item) {
    item.inserted = false;
    tree_.erase(item);
    reference_.erase(item);
  }

  const Shape shape_;
  std::mt19937_64 random_;
  std::vector<Item> items_;
  std::vector<Item*> found_;
  Tree tree_;
  Reference reference_;
};

class IntervalTreeModel : public testing::TestWithParam<Shape> {};
INSTANTIATE_TEST_SUITE_P(, IntervalTreeModel,
                         testing::Values(Shape{4, 8, 4, 60'000},         // every small tree
                                         Shape{20, 30, 10, 60'000},      // many equal begins
                                         Shape{60, 1000, 30, 60'000},    // hardly any overlaps
                                         Shape{60, 1000, 1000, 40'000},  // nearly all overlap
                                         Shape{300, 1u << 20, 9000, 30'000}),
                         [](const auto& tested) {
                           return "Elements" + std::to_string(tested.param.elements) + "Longest" +
                                  std::to_string(tested.param.longest);
                         });

TEST_P(IntervalTreeModel, AnswersLikeAPlainVector) {
  std::uint64_t first = 1, last = 20;
  if (const char* seeds = std::getenv("RANGECACHE_SEEDS")) last = std::strtoull(seeds, nullptr, 10);
  if (const char* seed = std::getenv("RANGECACHE_SEED")) {
    first = last = std::strtoull(seed, nullptr, 10);
  }
  for (std::uint64_t seed = first; seed <= last && !HasFailure(); ++seed) {
    SCOPED_TRACE("RANGECACHE_SEED=" + std::to_string(seed));
    Comparison(GetParam(), seed).run();
  }
}

}  // namespace
}  // namespace rangecache::cache
