#include "fuse/inode_table.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <vector>

namespace rangecache::fuse {
namespace {

class PlainNode final : public Node {
 public:
  NodeAttributes attributes() const override { return {}; }
};
NodePtr make_node() { return std::make_shared<PlainNode>(); }

TEST(InodeTable, RootIsNodeOneAndIsNeverForgotten) {
  const NodePtr root = make_node();
  InodeTable table(root);
  EXPECT_EQ(table.find(1), root);
  table.forget(1, 1000);
  EXPECT_EQ(table.find(1), root);
  EXPECT_EQ(table.add_lookup(root, 7, "loop"), 1U);
  EXPECT_FALSE(table.name_of(root));
}

TEST(InodeTable, SameNodeSharesOneIdAndLivesUntilItsLastLookupIsForgotten) {
  InodeTable table(make_node());
  NodePtr node = make_node();
  const auto id = table.add_lookup(node, 1, "a");
  EXPECT_EQ(table.add_lookup(node, 1, "b"), id);
  const std::weak_ptr<Node> watched = node;
  node.reset();
  table.forget(id, 1);
  EXPECT_NE(table.find(id), nullptr);
  table.forget(id, 1);
  EXPECT_EQ(table.find(id), nullptr);
  EXPECT_TRUE(watched.expired());
}

TEST(InodeTable, ForgottenNodeThatComesAgainGetsANewId) {
  InodeTable table(make_node());
  const NodePtr node = make_node();
  const auto first = table.add_lookup(node, 1, "a");
  table.forget(first, 1);
  EXPECT_NE(table.add_lookup(node, 1, "a"), first);
}

TEST(InodeTable, NameIsWhereTheNodeWasLastLookedUp) {
  InodeTable table(make_node());
  const NodePtr node = make_node();
  EXPECT_FALSE(table.name_of(node));
  table.add_lookup(node, 1, "a");
  table.add_lookup(node, 9, "b");
  EXPECT_EQ(table.name_of(node)->parent, 9U);
  EXPECT_EQ(table.name_of(node)->name, "b");
}

TEST(InodeTable, ForgettingTooMuchOrTheUnknownIsHarmless) {
  InodeTable table(make_node());
  const auto id = table.add_lookup(make_node(), 1, "a");
  table.forget(id, 99);
  table.forget(id, 1);
  table.forget(12345, 1);
  EXPECT_EQ(table.size(), 1U);
}

TEST(InodeTable, MillionLookupsAndForgetsLeaveNothing) {
  InodeTable table(make_node());
  std::vector<NodePtr> nodes(5000);
  for (NodePtr& node : nodes) node = make_node();
  std::map<std::uint64_t, std::uint64_t> owed;  // id -> lookups not yet forgotten
  std::mt19937 random(20240601);
  for (int i = 0; i < 1'000'000; ++i) {
    const std::size_t which = random() % nodes.size();
    ++owed[table.add_lookup(nodes[which], 1, "n" + std::to_string(which))];
    if (random() % 4 == 0 && !owed.empty()) {
      const auto some = std::next(owed.begin(), random() % std::min<std::size_t>(owed.size(), 50));
      const std::uint64_t drop = 1 + random() % some->second;
      table.forget(some->first, drop);
      if ((some->second -= drop) == 0) owed.erase(some);
    }
  }
  ASSERT_EQ(table.size(), owed.size() + 1);
  for (const auto& [id, lookups] : owed) {
    if (lookups > 1) table.forget(id, lookups - 1);
    ASSERT_NE(table.find(id), nullptr);
    table.forget(id, 1);
  }
  EXPECT_EQ(table.size(), 1U);
  for (const NodePtr& node : nodes) ASSERT_EQ(node.use_count(), 1);
}

}  // namespace
}  // namespace rangecache::fuse
