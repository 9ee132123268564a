// Drives coalescers with random overlapping reads, failures, cancellations, servers that never
// answer, readers that lose patience, evictions, merges, chunks found on the disk, new versions of
// the object and origins that ignore ranges, on a simulated clock (one step, one tick): one seed,
// one history. Checks after every step:
//   - no byte is in flight twice (promise 4), and none that is held already is asked for;
//   - every byte that a reader gets is right, and of its version (promise 1);
//   - a reader fails only if it gave up, if a flight that it waited for failed, or if its version
//   is
//     gone (promise 5); a reader that gives up costs nobody else a byte;
//   - when the origin behaves at last, every reader is served, and no memory is held.
// (That each request carries its version's validator is start_fetch()'s: tests/unit/cache.)
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "base/metrics.h"
#include "cache/coalescer.h"

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kSize = 40 * 1024 * 1024 + 777;

/// The object's bytes; no offset has the same byte in both of two versions that follow each other.
const std::vector<std::byte>& content_of(int version) {
  static const auto make = [](int salt) {
    std::vector<std::byte> all(kSize);
    for (std::uint64_t i = 0; i < kSize; ++i)
      all[i] = static_cast<std::byte>(((i * 0x9e3779b97f4a7c15ULL) >> 56) + salt);
    return all;
  };
  static const std::vector<std::byte> even = make(0), odd = make(1);
  return version % 2 ? odd : even;
}

class World {
 public:
  World(std::uint64_t seed, int ignored_percent, int version = 0)
      : random_(seed),
        ignored_percent_(ignored_percent),
        version_(version),
        // Every other world has little memory, and readers that want less than half of it at once.
        longest_read_(seed % 2 ? 6 << 20 : 1 << 20),
        pool_(std::make_shared<BufferPool>(seed % 2 ? 64 << 20 : kPieceSize, metrics_)),
        coalescer_({.size = kSize}) {}

  void step() {
    ++now_;
    time_out();
    switch (pick(15)) {
      case 0:
      case 1:
        begin_read();
        break;
      case 2:
      case 3:
      case 4:
      case 5:
        deliver();
        break;
      case 6:
        store();
        break;
      case 7:
        open_chunk();
        break;
      case 8:
        evict();
        break;
      case 9:
        if (pick(4) == 0) cancel_read();
        break;
      case 10:
        if (pick(4) == 0) fail_flight();
        break;
      case 11:
        prefetch();
        break;
      case 12:
        merge();
        break;
      case 13:
        find_on_disk();
        break;
      case 14:
        drop_kept();
        break;
    }
    check();
  }
  /// The origin has another version now: nobody begins to read this one, and its fetches fail.
  void retire() { retired_ = true; }
  bool idle() const { return reads_.empty() && active_.empty() && to_store_.empty(); }

  void settle() {
    for (Active& active : active_) active.answers = true;
    settling_ = true;
    for (int i = 0; i < 1'000'000 && (!reads_.empty() || !active_.empty()); ++i) {
      if (!wanted_.empty()) open_chunk();
      if (!active_.empty()) deliver();
      if (!to_store_.empty()) store();
    }
    check();
    EXPECT_TRUE(reads_.empty()) << reads_.size() << " readers were never served";
    EXPECT_TRUE(coalescer_.flights().empty());
    while (!to_store_.empty()) store();
    while (!kept_.empty()) drop_kept();
    EXPECT_TRUE(coalescer_.pieces().empty()) << "bytes stay in memory that nobody waits for";
  }

  std::uint64_t served() const { return served_; }
  std::uint64_t delivered_bytes() const { return delivered_; }

 private:
  struct Active {
    FlightPtr flight;
    std::uint64_t at = 0;       ///< the next byte that the origin sends
    std::uint64_t refused = 0;  ///< so many from there found no memory
    bool head_sent = false;
    bool sent = false;    ///< all bytes; that it is done is told later
    bool answers = true;  ///< else the server is silent, until the time is up
    std::uint64_t deadline = 0;
  };
  static constexpr std::uint64_t kFetchTimeout = 150;  // steps

  const std::vector<std::byte>& content() const { return content_of(version_); }

  std::uint64_t pick(std::uint64_t n) { return random_() % n; }

  ByteRange random_range() {
    // What was evicted is often what somebody reads next, while its fetch is not even over.
    if (!last_evicted_.empty() && pick(4) == 0) return last_evicted_;
    const std::uint64_t size = pick(3) == 0 ? 1 + pick(longest_read_) : 1 + pick(200'000);
    const std::uint64_t begin = pick(kSize);
    return {begin, std::min(kSize, begin + size)};
  }

  void begin_read() {
    if (reads_.size() > 30 || retired_) return;
    const ByteRange range = random_range();
    auto read = std::make_shared<Read>(range, 0, nullptr);
    reads_.insert(read);
    if (pick(5) == 0) patience_[read] = now_ + pick(400);
    Effects effects;
    coalescer_.begin_read(read, effects);
    absorb(std::move(effects));
  }

  void prefetch() {
    if (retired_) return;
    Effects effects;
    coalescer_.prefetch(random_range(), effects);
    absorb(std::move(effects));
  }

  void cancel_read() {
    if (reads_.empty()) return;
    give_up(*std::next(reads_.begin(), pick(reads_.size())));
  }

  void give_up(const ReadPtr& read) {
    gave_up_.insert(read);
    Effects effects;
    coalescer_.cancel_read(read, effects);
    absorb(std::move(effects));
  }

  /// What the clock brings: fetches that had no answer fail, readers lose patience.
  void time_out() {
    for (std::size_t i = 0; i < active_.size();) {
      if (active_[i].answers || active_[i].deadline > now_) {
        ++i;
        continue;
      }
      fail(active_[i].flight, ErrorCode::kTimedOut);
      i = 0;
    }
    for (auto it = patience_.begin(); it != patience_.end();) {
      if (it->second > now_) {
        ++it;
        continue;
      }
      const ReadPtr read = it->first;
      it = patience_.erase(it);
      if (reads_.count(read)) give_up(read);
    }
  }

  void deliver() {
    if (active_.empty()) return;
    const std::size_t index = pick(active_.size());
    if (!active_[index].answers && !settling_) return;
    if (retired_ && pick(2)) return fail(active_[index].flight, ErrorCode::kStale);
    Active& active = active_[index];
    const FlightPtr flight = active.flight;
    Effects effects;
    bool over = false;
    if (active.sent) {
      coalescer_.flight_done(flight, Result<void>(), effects);
      forget(flight);
      absorb(std::move(effects));
      return;
    }
    if (!active.head_sent) {
      active.head_sent = true;
      FetchHead head;
      head.attributes.size = kSize;
      head.whole_body = pick(100) < static_cast<std::uint64_t>(ignored_percent_);
      head.range = head.whole_body ? ByteRange{0, kSize} : flight->range;
      active.at = head.range.begin;
      active_end_[flight] = head.range.end;
      over = !coalescer_.flight_head(flight, head, effects);
    } else {
      // After a pause the same bytes come again, as curl offers them.
      const std::uint64_t n =
          active.refused
              ? active.refused
              : std::min<std::uint64_t>(1 + pick(700'000), active_end_[flight] - active.at);
      active.refused = 0;
      const auto data = std::span(content()).subspan(active.at, n);
      switch (coalescer_.flight_data(flight, data, *pool_, effects)) {
        case Coalescer::Append::kTaken:
          active.at += n;
          delivered_ += n;
          break;
        case Coalescer::Append::kNotWanted:
          over = true;
          break;
        case Coalescer::Append::kNoMemory:
          active.refused = n;
          absorb(std::move(effects));
          store();
          drop_kept();
          return;
      }
    }
    active.sent = active.at >= active_end_[flight];
    absorb(std::move(effects));
    if (over) {
      Effects more;
      coalescer_.flight_done(flight, Error(ErrorCode::kCancelled, ""), more);
      forget(flight);
      absorb(std::move(more));
    }
  }

  void fail_flight() {
    if (active_.empty()) return;
    fail(active_[pick(active_.size())].flight, ErrorCode::kOriginFailed);
  }

  void fail(const FlightPtr& wanted, ErrorCode code) {
    const FlightPtr flight = wanted;  // `wanted` may stand in what is erased here
    for (const auto& waiter : flight->waiters) may_fail_.insert(waiter.read);
    const bool was_abandoned = flight->abandoned;
    Effects effects;
    coalescer_.flight_done(flight, Error(code, "as the model wants it"), effects);
    EXPECT_EQ(effects.changed, code == ErrorCode::kStale && !was_abandoned);
    forget(flight);
    absorb(std::move(effects));
  }

  /// Neighbours become one chunk, as the merger does it.
  void merge() {
    if (chunks_.empty()) return;
    Chunk* const first = chunks_[pick(chunks_.size())].get();
    std::vector<Chunk*> run{first};
    for (Chunk* next = coalescer_.chunks().after(*first);
         next && next->range.begin == run.back()->range.end && run.size() < 4;
         next = coalescer_.chunks().after(*next))
      run.push_back(next);
    if (run.size() < 2) return;
    const ByteRange range{first->range.begin, run.back()->range.end};
    for (Chunk* source : run) {
      const auto at = std::find_if(chunks_.begin(), chunks_.end(),
                                   [&](const ChunkPtr& chunk) { return chunk.get() == source; });
      const ChunkPtr keep = *at;
      chunks_.erase(at);
      EXPECT_TRUE(coalescer_.remove_chunk(*keep));
    }
    ChunkPtr merged(new Chunk(nullptr, range));
    coalescer_.insert_chunk(merged);
    chunks_.push_back(merged);
  }

  /// A chunk file that the index did not know, as the walk after an unclean stop finds it.
  void find_on_disk() {
    const ByteRange range = random_range();
    if (!coalescer_.is_gap(range)) return;
    ChunkPtr chunk(new Chunk(nullptr, range));
    coalescer_.insert_chunk(chunk);
    chunks_.push_back(chunk);
  }

  void forget(const FlightPtr& flight) {
    for (auto it = active_.begin(); it != active_.end(); ++it) {
      if (it->flight != flight) continue;
      active_.erase(it);
      return;
    }
  }

  void store() {
    if (to_store_.empty()) return;
    const auto piece = to_store_.front();
    to_store_.pop_front();
    Effects effects;
    if (pick(5) == 0) {
      coalescer_.piece_dropped(*piece, effects);
    } else {
      ChunkPtr chunk(new Chunk(nullptr, piece->filled(), piece->checksums(), true));
      EXPECT_EQ(chunk->blocks.count(), (chunk->range.size() + kBlockSize - 1) / kBlockSize);
      if (coalescer_.piece_stored(*piece, chunk, effects)) kept_.push_back(piece);
      chunks_.push_back(chunk);
    }
    absorb(std::move(effects));
  }

  /// Mostly one that readers have not had yet, but they may have had it, or its chunk may be gone.
  void drop_kept() {
    if (kept_.empty()) return;
    const auto piece = kept_[pick(kept_.size())];
    std::erase(kept_, piece);
    Effects effects;
    coalescer_.piece_dropped(*piece, effects);
    absorb(std::move(effects));
  }

  void evict() {
    if (chunks_.empty()) return;
    const std::size_t index = pick(chunks_.size());
    last_evicted_ = chunks_[index]->range;
    EXPECT_TRUE(coalescer_.remove_chunk(*chunks_[index]));
    chunks_[index] = chunks_.back();
    chunks_.pop_back();
  }

  void open_chunk() {
    if (wanted_.empty()) return;
    const Effects::ChunkWanted wanted = wanted_.front();
    wanted_.pop_front();
    Effects effects;
    const bool gone = !wanted.chunk->indexed || pick(10) == 0;
    if (gone) {
      if (coalescer_.remove_chunk(*wanted.chunk)) {
        chunks_.erase(std::find_if(chunks_.begin(), chunks_.end(), [&](const ChunkPtr& chunk) {
          return chunk.get() == wanted.chunk.get();
        }));
      }
      coalescer_.chunk_failed(wanted.read, wanted.part, effects);
      if (wanted.read->replans >= 16) may_fail_.insert(wanted.read);
    } else {
      coalescer_.chunk_ready(
          wanted.read, wanted.part,
          {-1, 0, content().data() + wanted.part.begin, wanted.part.size(), nullptr}, effects);
    }
    absorb(std::move(effects));
  }

  void absorb(Effects effects) {
    for (const FlightPtr& flight : effects.start)
      active_.push_back({.flight = flight,
                         .at = flight->range.begin,
                         .answers = settling_ || pick(15) != 0,
                         .deadline = now_ + kFetchTimeout});
    for (auto& piece : effects.store) to_store_.push_back(std::move(piece));
    for (const auto& used : effects.used)
      EXPECT_TRUE(used.chunk->range.contains(used.part)) << "another chunk counts as used";
    for (auto& wanted : effects.open) wanted_.push_back(std::move(wanted));
    for (auto& finished : effects.finished) {
      ASSERT_EQ(reads_.erase(finished.read), 1u) << "a read finished twice";
      if (!finished.result) {
        EXPECT_TRUE(gave_up_.count(finished.read) || may_fail_.count(finished.read))
            << "a read failed for no reason of its own: " << finished.result.error().message();
        EXPECT_TRUE(finished.result.error().code != ErrorCode::kStale || retired_);
        continue;
      }
      ++served_;
      std::uint64_t at = finished.read->range.begin;
      for (const Slice& slice : *finished.result) {
        ASSERT_LE(at + slice.length, kSize);
        ASSERT_EQ(std::memcmp(slice.data, content().data() + at, slice.length), 0)
            << "wrong bytes at " << at;
        at += slice.length;
      }
      ASSERT_EQ(at, finished.read->range.end);
    }
  }

  void check() {
    std::uint64_t last_end = 0;
    std::vector<ByteRange> pending;
    for (const auto& [begin, flight] : coalescer_.flights()) {
      EXPECT_EQ(begin, flight->range.begin);
      if (!flight->pending().empty()) pending.push_back(flight->pending());
    }
    std::sort(pending.begin(), pending.end(),
              [](ByteRange a, ByteRange b) { return a.begin < b.begin; });
    for (const ByteRange range : pending) {
      ASSERT_GE(range.begin, last_end) << "a byte is in flight twice";
      last_end = range.end;
    }
    if (ignored_percent_ == 0) {
      for (const ByteRange range : pending) {
        EXPECT_EQ(coalescer_.chunks().first_overlap(range), nullptr)
            << "a byte that is on disk is asked for";
      }
    }
    std::uint64_t piece_end = 0;
    for (const auto& [begin, piece] : coalescer_.pieces()) {
      ASSERT_GE(begin, piece_end);
      piece_end = piece->filled().end;
    }
  }

  std::mt19937_64 random_;
  const int ignored_percent_;
  const int version_;
  const std::uint64_t longest_read_;
  std::uint64_t now_ = 0;
  bool retired_ = false, settling_ = false;
  std::map<ReadPtr, std::uint64_t> patience_;
  Metrics metrics_;
  std::shared_ptr<BufferPool> pool_;
  Coalescer coalescer_;
  std::vector<Active> active_;
  std::map<FlightPtr, std::uint64_t> active_end_;
  std::deque<std::shared_ptr<Piece>> to_store_;
  std::vector<std::shared_ptr<Piece>> kept_;  // stored, and in memory, too
  std::deque<Effects::ChunkWanted> wanted_;
  std::vector<ChunkPtr> chunks_;
  std::set<ReadPtr> reads_, gave_up_, may_fail_;
  std::uint64_t served_ = 0;
  std::uint64_t delivered_ = 0;
  ByteRange last_evicted_;
};

std::uint64_t first_seed() {
  const char* seed = std::getenv("RANGECACHE_SEED");
  return seed ? std::strtoull(seed, nullptr, 10) : 1;
}

constexpr int kSteps = 2500;  // of one seed

/// How many of a hundred requests are answered with the whole body, whatever was asked for.
class CoalescerModel : public testing::TestWithParam<int> {};

TEST_P(CoalescerModel, EveryByteIsInFlightOnceAndEveryReaderIsServedRightly) {
  std::uint64_t served = 0;
  const char* wanted = std::getenv("RANGECACHE_STEPS");
  const int seeds = std::getenv("RANGECACHE_SEED") ? 1 : wanted ? std::atoi(wanted) / kSteps : 20;
  for (int i = 0; i < seeds; ++i) {
    const std::uint64_t seed = first_seed() + i;
    SCOPED_TRACE("replay with RANGECACHE_SEED=" + std::to_string(seed));
    // Now and then the object changes: readers of the old version end beside those of the new.
    std::mt19937_64 random(seed * 31);
    int version = 0;
    auto current = std::make_unique<World>(seed, GetParam(), version);
    std::unique_ptr<World> old;
    for (int step = 0; step < kSteps; ++step) {
      current->step();
      if (old) old->step();
      if (!old && random() % 800 == 0) {
        current->retire();
        old = std::move(current);
        current = std::make_unique<World>(seed + 1000 * ++version, GetParam(), version);
      }
      if (old && old->idle()) {
        served += old->served();
        old.reset();
      }
      if (testing::Test::HasFailure()) FAIL() << "at step " << step;
    }
    for (World* world : {old.get(), current.get()}) {
      if (!world) continue;
      world->settle();
      served += world->served();
    }
    if (testing::Test::HasFailure()) return;
  }
  EXPECT_GT(served, 20u * seeds) << "the model hardly read anything";
}

INSTANTIATE_TEST_SUITE_P(Origins, CoalescerModel, testing::Values(0, 30, 100),
                         [](const auto& tested) {
                           return fmt::format("Ignore{}PercentOfRanges", tested.param);
                         });

}  // namespace
}  // namespace rangecache::cache
