// What a coalescer does with memory. (That each byte comes once and rightly: tests/model.)
#include "cache/coalescer.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "base/metrics.h"

namespace rangecache::cache {
namespace {

/// The object's bytes.
const std::vector<std::byte>& content() {
  static const auto bytes = [] {
    std::vector<std::byte> all(2 * kPieceSize);
    for (std::uint64_t i = 0; i < all.size(); ++i)
      all[i] = static_cast<std::byte>((i * 0x9e3779b97f4a7c15ULL) >> 56);
    return all;
  }();
  return bytes;
}

/// Who waits for memory is called back when it is given back, and then locks a version: perhaps the
/// one whose lock its giver holds.
TEST(Coalescer, MemoryIsGivenBackWithTheEffectsAndNotWithinACall) {
  Metrics metrics;
  const auto pool = std::make_shared<BufferPool>(kPieceSize, metrics);
  Coalescer coalescer({.size = 2 * kPieceSize});
  const auto fetch_first = [&] {
    Effects effects;
    coalescer.prefetch({0, kPieceSize}, effects);
    const FlightPtr flight = effects.start.at(0);
    EXPECT_EQ(coalescer.flight_data(flight, std::span(content()).first(kPieceSize), *pool, effects),
              Coalescer::Append::kTaken);
    coalescer.flight_done(flight, {}, effects);
    return effects.store.at(0);
  };
  const auto read = [&](ByteRange range, Effects& effects) {
    coalescer.begin_read(std::make_shared<Read>(range, 0, [](Result<Slices>) {}), effects);
  };
  bool resumed = false;
  {
    const auto piece = fetch_first();
    ChunkPtr chunk(new Chunk(nullptr, piece->filled(), piece->checksums(), true));
    Effects effects;
    EXPECT_TRUE(coalescer.piece_stored(*piece, chunk, effects)) << "nobody has read it";
  }
  pool->when_available(kPieceSize, [&] { resumed = true; });
  {
    Effects effects;
    read({0, kPieceSize}, effects);
    EXPECT_EQ(effects.finished.size(), 1u);
    EXPECT_TRUE(coalescer.pieces().empty()) << "readers have had all of it now";
    EXPECT_FALSE(resumed);
  }
  EXPECT_TRUE(resumed);
  resumed = false;

  // A body that breaks off in its first page leaves nothing to store.
  Effects begun;
  read({kPieceSize, kPieceSize + 4096}, begun);
  const FlightPtr flight = begun.start.at(0);
  {
    Effects effects;
    coalescer.flight_data(flight, std::span(content()).subspan(kPieceSize, 100), *pool, effects);
  }
  pool->when_available(kPieceSize, [&] { resumed = true; });
  {
    Effects effects;
    coalescer.flight_done(flight, Error(ErrorCode::kOriginFailed, "broken"), effects);
    EXPECT_FALSE(resumed);
  }
  EXPECT_TRUE(resumed);
}

/// A read that waits must not hold the memory of what it has: were all of it held so, nobody's rest
/// would ever come.
class WaitingReader : public testing::Test {
 protected:
  static constexpr ByteRange kRange{kPieceSize - 5000, kPieceSize + 3000};

  /// The first part of kRange has come, and is about to be written; the rest is on its way.
  void SetUp() override {
    Effects effects;
    coalescer_.prefetch({0, kPieceSize}, effects);
    coalescer_.begin_read(read_, effects);
    ASSERT_EQ(effects.start.size(), 2u);
    rest_ = effects.start[1];
    deliver(effects.start[0], {0, kPieceSize}, effects);
    ASSERT_EQ(effects.store.size(), 1u);
    piece_ = effects.store[0];
    EXPECT_EQ(pool_->used(), kPieceSize);
  }
  void deliver(const FlightPtr& flight, ByteRange range, Effects& effects) {
    const auto data = std::span(content()).subspan(range.begin, range.size());
    ASSERT_EQ(coalescer_.flight_data(flight, data, *pool_, effects), Coalescer::Append::kTaken);
    coalescer_.flight_done(flight, {}, effects);
  }
  Effects deliver_rest() {
    piece_.reset();
    Effects effects;
    deliver(rest_, rest_->range, effects);
    return effects;
  }
  static void expect_served(const Effects& effects) {
    ASSERT_EQ(effects.finished.size(), 1u);
    ASSERT_TRUE(effects.finished[0].result);
    std::uint64_t at = kRange.begin;
    for (const Slice& slice : *effects.finished[0].result) {
      EXPECT_EQ(std::memcmp(slice.data, content().data() + at, slice.length), 0) << at;
      at += slice.length;
    }
    EXPECT_EQ(at, kRange.end);
  }

  Metrics metrics_;
  const std::shared_ptr<BufferPool> pool_ = std::make_shared<BufferPool>(kPieceSize, metrics_);
  Coalescer coalescer_{{.size = 2 * kPieceSize}};
  const ReadPtr read_ = std::make_shared<Read>(kRange, 0, [](Result<Slices>) {});
  FlightPtr rest_;
  std::shared_ptr<Piece> piece_;
};

TEST_F(WaitingReader, GetsFromTheDiskWhatHasBeenWrittenMeanwhile) {
  ChunkPtr chunk(new Chunk(nullptr, piece_->filled(), piece_->checksums(), true));
  Effects stored;
  EXPECT_TRUE(coalescer_.piece_stored(*piece_, chunk, stored)) << "others may want the rest of it";
  EXPECT_TRUE(stored.empty());
  Effects dropped;
  coalescer_.piece_dropped(*piece_, dropped);
  piece_.reset();
  EXPECT_EQ(pool_->used(), 0u);
  ASSERT_EQ(dropped.open.size(), 1u);
  const ByteRange part = dropped.open[0].part;
  EXPECT_EQ(part, (ByteRange{kRange.begin, kPieceSize}));

  EXPECT_TRUE(deliver_rest().finished.empty());
  Effects opened;
  coalescer_.chunk_ready(read_, part, {-1, 0, content().data() + part.begin, part.size(), nullptr},
                         opened);
  expect_served(opened);
}

TEST_F(WaitingReader, KeepsOnlyItsOwnBytesOfWhatIsNotWritten) {
  Effects dropped;
  coalescer_.piece_dropped(*piece_, dropped);
  EXPECT_TRUE(dropped.empty());
  piece_.reset();
  EXPECT_EQ(pool_->used(), 0u);
  expect_served(deliver_rest());
}

TEST_F(WaitingReader, KeepsItsOwnBytesOfWhatWasWrittenAndEvictedAtOnce) {
  ChunkPtr chunk(new Chunk(nullptr, piece_->filled(), piece_->checksums(), true));
  Effects effects;
  EXPECT_TRUE(coalescer_.piece_stored(*piece_, chunk, effects));
  coalescer_.remove_chunk(*chunk);
  coalescer_.piece_dropped(*piece_, effects);
  EXPECT_TRUE(effects.empty()) << "the chunk's file is gone";
  expect_served(deliver_rest());
}

}  // namespace
}  // namespace rangecache::cache
