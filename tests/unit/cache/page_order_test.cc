#include "cache/page_order.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "cache/directory_listing.h"

namespace rangecache::cache {
namespace {

ListEntry file(std::string name) { return {std::move(name), false, 1, 2, {}}; }
ListEntry directory(std::string name) { return {std::move(name), true, {}, {}, {}}; }

std::vector<std::string> shown(const std::vector<ListEntry>& entries) {
  std::vector<std::string> names;
  for (const ListEntry& entry : entries)
    names.push_back(entry.name + (entry.is_directory ? "/" : ""));
  return names;
}
using Names = std::vector<std::string>;

TEST(PageOrder, HoldsBackWhatADirectoryToComeMayHide) {
  PageOrder order;
  EXPECT_EQ(shown(order.next({file("0"), file("a"), file("a!"), file("a-b")}, false)),
            (Names{"0", "a!"}));
  EXPECT_EQ(shown(order.next({file("a.txt"), directory("a"), file("b")}, false)),
            (Names{"a/", "a-b", "a.txt"}));
  EXPECT_EQ(shown(order.next({}, true)), (Names{"b"}));
}

TEST(PageOrder, ShowsADirectoryOnceThatStandsOnTwoPages) {
  PageOrder order;
  EXPECT_EQ(shown(order.next({file("a"), directory("d")}, false)), (Names{"a", "d/"}));
  EXPECT_EQ(shown(order.next({directory("d"), file("e")}, true)), (Names{"e"}));
}

/// Pages of any size, put together, are the listing.
TEST(PageOrder, ModelPagesOfAnySizeGiveEachNameOnce) {
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  for (int round = 0; round < 3000; ++round) {
    std::map<std::string, ListEntry> by_key;
    const std::string letters = "a-.!0";
    for (std::size_t i = random() % 40; i > 0; --i) {
      std::string name;
      for (std::size_t length = 1 + random() % 4; length > 0; --length)
        name += letters[random() % letters.size()];
      if (random() % 3 == 0)
        by_key[name + "/"] = directory(name);
      else
        by_key[name] = file(name);
    }
    std::vector<ListEntry> all;
    for (const auto& [key, entry] : by_key) all.push_back(entry);
    std::vector<ListEntry> expected = all;
    sort_names(expected);

    PageOrder order;
    std::vector<ListEntry> together;
    const std::size_t page_size = 1 + random() % 6;
    for (std::size_t begin = 0;; begin += page_size) {
      const std::size_t end = std::min(all.size(), begin + page_size);
      std::vector<ListEntry> page(all.begin() + static_cast<std::ptrdiff_t>(begin),
                                  all.begin() + static_cast<std::ptrdiff_t>(end));
      std::shuffle(page.begin(), page.end(), random);  // within a page in any order
      const std::vector<ListEntry> settled = order.next(std::move(page), end == all.size());
      together.insert(together.end(), settled.begin(), settled.end());
      if (end == all.size()) break;
    }
    Names names = shown(together);
    std::sort(names.begin(), names.end());
    Names wanted = shown(expected);
    std::sort(wanted.begin(), wanted.end());
    ASSERT_EQ(names, wanted) << "pages of " << page_size;
  }
}

}  // namespace
}  // namespace rangecache::cache
