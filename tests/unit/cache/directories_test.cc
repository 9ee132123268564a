#include "cache/directories.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>

#include "base/clock.h"
#include "tests/unit/cache/fake_origin.h"

namespace rangecache::cache {
namespace {

class DirectoriesTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kMaxEntries = 130;

  DirectoriesTest() {
    for (int directory = 0; directory < 50; ++directory)
      for (int i = 10; i < 40; ++i) origin_->put(name(directory) + std::to_string(i), {.size = 1});
    origin_->list_validators();
  }
  ~DirectoriesTest() override { origin_->stop(); }

  static std::string name(int directory) { return "d" + std::to_string(directory) + "/"; }
  ListingPagesPtr open(int directory) {
    std::promise<Result<ListingPagesPtr>> opened;
    directories_.open(origin_, name(directory),
                      [&](Result<ListingPagesPtr> pages) { opened.set_value(std::move(pages)); });
    return opened.get_future().get().value();
  }
  std::size_t list(int directory) {
    std::promise<Result<ListingPtr>> listed;
    directories_.list(origin_, name(directory),
                      [&](Result<ListingPtr> listing) { listed.set_value(std::move(listing)); });
    return listed.get_future().get().value()->entries.size();
  }

  ManualClock clock_;
  FreshnessPolicies policies_;
  Directories directories_{clock_, policies_, kMaxEntries};
  std::shared_ptr<FakeOrigin> origin_ = std::make_shared<FakeOrigin>();
};

TEST_F(DirectoriesTest, BeginningsOfListingsAreBounded) {
  origin_->list_in_pages_of(10);
  for (int directory = 0; directory < 50; ++directory) {
    open(directory);
    EXPECT_LE(directories_.entries_held(), kMaxEntries + 20);
  }
  EXPECT_EQ(list(7), 30u) << "what was dropped is asked for again";
}

TEST_F(DirectoriesTest, WholeListingsAreBoundedHoweverLongTheyAreFresh) {
  for (int directory = 0; directory < 50; ++directory) {
    EXPECT_EQ(list(directory), 30u);
    EXPECT_LE(directories_.entries_held(), kMaxEntries + 60);
  }
  const int lists = origin_->lists();
  EXPECT_EQ(list(49), 30u);
  EXPECT_EQ(origin_->lists(), lists) << "the latest is kept";
}

TEST_F(DirectoriesTest, WhatIsPastItsTimeGoesFirst) {
  EXPECT_EQ(list(0) + list(1), 60u);
  clock_.advance_s(20);
  EXPECT_EQ(list(2) + list(3) + list(4), 90u);
  EXPECT_EQ(list(5), 30u);
  EXPECT_LE(directories_.entries_held(), 180u) << "too much was there when it was asked for";
  const int lists = origin_->lists();
  EXPECT_EQ(list(2) + list(3) + list(4) + list(5), 120u);
  EXPECT_EQ(origin_->lists(), lists);
}

}  // namespace
}  // namespace rangecache::cache
