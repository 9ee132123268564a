#include "fetcher/transfer_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rangecache::fetcher {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(TransferQueue, DemandGoesBeforeReadAhead) {
  TransferQueue queue(1);
  queue.push("a", Priority::kReadAhead, 1);
  queue.push("a", Priority::kDemand, 2);
  EXPECT_THAT(queue.take_ready(), ElementsAre(2));
  EXPECT_THAT(queue.take_ready(), IsEmpty());
  queue.release("a", Priority::kDemand);
  EXPECT_THAT(queue.take_ready(), ElementsAre(1));
}

TEST(TransferQueue, ReadAheadLeavesPlacesForDemand) {
  TransferQueue queue(4);
  for (std::uint64_t id = 1; id <= 5; ++id) queue.push("a", Priority::kReadAhead, id);
  EXPECT_THAT(queue.take_ready(), ElementsAre(1, 2, 3));
  queue.push("a", Priority::kDemand, 9);
  EXPECT_THAT(queue.take_ready(), ElementsAre(9));
  queue.release("a", Priority::kReadAhead);
  EXPECT_THAT(queue.take_ready(), ElementsAre(4));
}

TEST(TransferQueue, OriginsHaveTheirOwnPlaces) {
  TransferQueue queue(1);
  queue.push("a", Priority::kDemand, 1);
  queue.push("a", Priority::kDemand, 2);
  queue.push("b", Priority::kDemand, 3);
  EXPECT_THAT(queue.take_ready(), ElementsAre(1, 3));
}

TEST(TransferQueue, ErasedRequestsAreNotTaken) {
  TransferQueue queue(1);
  queue.push("a", Priority::kDemand, 1);
  queue.push("a", Priority::kReadAhead, 2);
  queue.erase("a", 1);
  EXPECT_THAT(queue.take_ready(), ElementsAre(2));
}

}  // namespace
}  // namespace rangecache::fetcher
