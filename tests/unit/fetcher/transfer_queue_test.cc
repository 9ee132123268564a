#include "fetcher/transfer_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rangecache::fetcher {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Only compared, never looked into.
const OriginHealth* const kA = reinterpret_cast<const OriginHealth*>(1);
const OriginHealth* const kB = reinterpret_cast<const OriginHealth*>(2);

TEST(TransferQueue, DemandGoesBeforeReadAhead) {
  TransferQueue queue(1, 1);
  queue.push(kA, Traffic::kReadAhead, 1);
  queue.push(kA, Traffic::kDemand, 2);
  EXPECT_THAT(queue.take_ready(), ElementsAre(2));
  EXPECT_THAT(queue.take_ready(), IsEmpty());
  queue.release(kA, Traffic::kDemand);
  EXPECT_THAT(queue.take_ready(), ElementsAre(1));
}

TEST(TransferQueue, ReadAheadLeavesPlacesForDemand) {
  TransferQueue queue(4, 1);
  for (std::uint64_t id = 1; id <= 5; ++id) queue.push(kA, Traffic::kReadAhead, id);
  EXPECT_THAT(queue.take_ready(), ElementsAre(1, 2, 3));
  queue.push(kA, Traffic::kDemand, 9);
  EXPECT_THAT(queue.take_ready(), ElementsAre(9));
  queue.release(kA, Traffic::kReadAhead);
  EXPECT_THAT(queue.take_ready(), ElementsAre(4));
}

TEST(TransferQueue, OriginsHaveTheirOwnPlaces) {
  TransferQueue queue(1, 1);
  queue.push(kA, Traffic::kDemand, 1);
  queue.push(kA, Traffic::kDemand, 2);
  queue.push(kB, Traffic::kDemand, 3);
  EXPECT_THAT(queue.take_ready(), ElementsAre(1, 3));
}

TEST(TransferQueue, ErasedRequestsAreNotTaken) {
  TransferQueue queue(1, 1);
  queue.push(kA, Traffic::kDemand, 1);
  queue.push(kA, Traffic::kReadAhead, 2);
  queue.erase(kA, 1);
  EXPECT_THAT(queue.take_ready(), ElementsAre(2));
}

TEST(TransferQueue, MetadataDoNotWaitForData) {
  TransferQueue queue(1, 2);
  queue.push(kA, Traffic::kDemand, 1);
  queue.push(kA, Traffic::kDemand, 2);
  EXPECT_THAT(queue.take_ready(), ElementsAre(1));
  queue.push(kA, Traffic::kMetadata, 3);
  EXPECT_THAT(queue.take_ready(), ElementsAre(3));
}

TEST(TransferQueue, FewerPlacesHoldForAllKinds) {
  TransferQueue queue(8, 8);
  queue.set_places(kA, 2);
  for (std::uint64_t id = 1; id <= 4; ++id) queue.push(kA, Traffic::kMetadata, id);
  for (std::uint64_t id = 5; id <= 8; ++id) queue.push(kA, Traffic::kDemand, id);
  EXPECT_THAT(queue.take_ready(), ElementsAre(1, 2, 5, 6));
  queue.set_places(kA, 1);  // what runs goes on, and no other starts
  queue.release(kA, Traffic::kDemand);
  EXPECT_THAT(queue.take_ready(), IsEmpty());
  queue.release(kA, Traffic::kDemand);
  EXPECT_THAT(queue.take_ready(), ElementsAre(7));
}

}  // namespace
}  // namespace rangecache::fetcher
