// What the steps cost that every read or every byte passes through. An item is one step; its
// time says how many of them a core can do.

#include <benchmark/benchmark.h>

#include <memory>
#include <random>
#include <vector>

#include "base/metrics.h"
#include "base/wire.h"
#include "cache/coalescer.h"
#include "cache/eviction.h"
#include "cache/read_ahead.h"
#include "cache/read_plan.h"
#include "fetcher/sigv4.h"

namespace rangecache {
namespace {

using namespace cache;

constexpr std::uint64_t kSize = std::uint64_t{64} << 30;
constexpr std::uint64_t kRead = 128 << 10;

/// A coalescer whose object has a chunk of 1 MiB at every second MiB.
struct HalfCached {
  HalfCached() {
    const std::vector<std::uint32_t> checksums(kPieceSize / kBlockSize);
    for (int i = 0; i < 1000; ++i) {
      const std::uint64_t begin = static_cast<std::uint64_t>(i) * 2 * kPieceSize;
      coalescer.insert_chunk(
          ChunkPtr(new Chunk(nullptr, ByteRange::at(begin, kPieceSize), checksums, true)));
    }
  }
  std::uint64_t any_offset() { return random() % (1999 * kPieceSize); }

  std::mt19937_64 random{1};
  Coalescer coalescer{{.size = kSize}};
};

void plan_of_a_read(benchmark::State& state) {
  HalfCached half;
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        plan_read(ByteRange::at(half.any_offset(), static_cast<std::uint64_t>(state.range(0))),
                  half.coalescer.chunks(), half.coalescer.pieces(), half.coalescer.flights()));
  }
  state.SetItemsProcessed(state.iterations());
}

void cached_read(benchmark::State& state) {
  HalfCached half;
  for (auto _ : state) {
    const std::uint64_t chunk = half.random() % 1000 * 2 * kPieceSize;
    benchmark::DoNotOptimize(half.coalescer.cached(ByteRange::at(chunk + kRead, kRead)));
  }
  state.SetItemsProcessed(state.iterations());
}

/// All that the coalescer does for bytes that nobody has: a read, its flight, its bytes in the
/// network's portions, their checksums, the piece stored. Items are bytes.
void cold_bytes(benchmark::State& state) {
  Metrics metrics;
  const auto pool = std::make_shared<BufferPool>(64 << 20, metrics);
  const std::vector<std::byte> portion(64 << 10, std::byte{7});
  Coalescer coalescer({.size = kSize});
  std::uint64_t at = 0, bytes = 0;
  for (auto _ : state) {
    Effects effects;
    coalescer.begin_read(
        std::make_shared<Read>(ByteRange::at(at, kPieceSize), 0, [](Result<Slices>) {}), effects);
    for (const FlightPtr& flight : effects.start) {
      Effects next;
      while (!flight->pending().empty()) coalescer.flight_data(flight, portion, *pool, next);
      coalescer.flight_done(flight, {}, next);
      for (const auto& piece : next.store) {
        bytes += piece->filled().size();
        coalescer.piece_dropped(*piece, effects);
      }
    }
    at = (at + 2 * kPieceSize) % (kSize - 2 * kPieceSize);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}

void read_ahead_of_a_stream(benchmark::State& state) {
  ReadAhead ahead({});
  std::uint64_t at = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(ahead.next(ByteRange::at(at, kRead)));
    at += kRead;
  }
  state.SetItemsProcessed(state.iterations());
}

void read_ahead_of_random_reads(benchmark::State& state) {
  ReadAhead ahead({});
  std::mt19937_64 random(1);
  for (auto _ : state) benchmark::DoNotOptimize(ahead.next(ByteRange::at(random() % kSize, kRead)));
  state.SetItemsProcessed(state.iterations());
}

struct Entry : EvictionHook {};

/// A full cache: one goes, one comes, and another one is used.
template <std::unique_ptr<EvictionPolicy> (*make)()>
void evict_and_insert(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  std::vector<Entry> entries(count);
  const auto policy = make();
  std::mt19937_64 random(1);
  for (Entry& entry : entries) {
    entry.pages = 256;
    entry.ghost_key = static_cast<std::uint32_t>(random());
    policy->insert(entry);
  }
  for (auto _ : state) {
    policy->touched(entries[random() % count]);
    EvictionHook* victim = policy->victim();
    policy->remove(*victim);
    victim->ghost_key = static_cast<std::uint32_t>(random());
    policy->insert(*victim);
  }
  state.SetItemsProcessed(state.iterations());
}

void checksum_of_a_block(benchmark::State& state) {
  const std::vector<std::byte> block(kBlockSize, std::byte{42});
  for (auto _ : state) benchmark::DoNotOptimize(block_checksum(block.data(), block.size()));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kBlockSize));
}

void frame_of_a_read(benchmark::State& state) {
  std::uint64_t id = 0;
  for (auto _ : state) {
    wire::Writer payload;
    payload.u64(1);
    payload.u64(id * kRead);
    payload.u32(kRead);
    wire::FrameHeader header;
    header.length = static_cast<std::uint32_t>(payload.buffer().size());
    header.type = protocol::MessageType::kRead;
    header.request_id = ++id;
    const std::string frame = wire::encode(header) + payload.take();
    const auto understood =
        wire::decode_header(std::string_view(frame).substr(0, protocol::kHeaderSize));
    wire::Reader in(std::string_view(frame).substr(protocol::kHeaderSize, understood.length));
    benchmark::DoNotOptimize(in.u64() + in.u64() + in.u32());
  }
  state.SetItemsProcessed(state.iterations());
}

void signature_of_a_get(benchmark::State& state) {
  fetcher::SigV4 signer("eu-central-1");
  const fetcher::AwsCredentials credentials{"AKIDEXAMPLE",
                                            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", ""};
  constexpr std::int64_t kNow = 1'700'000'000;
  const std::string time = fetcher::SigV4::timestamp(kNow);
  for (auto _ : state) {
    benchmark::DoNotOptimize(signer.authorization(
        {.method = "GET",
         .path = "/bucket/some/folder/object.parquet",
         .query = "",
         .headers = {{"host", "s3.eu-central-1.amazonaws.com"},
                     {"range", "bytes=1048576-2097151"},
                     {"if-match", "\"d41d8cd98f00b204e9800998ecf8427e\""},
                     {"x-amz-content-sha256", std::string(fetcher::SigV4::kEmptyPayload)},
                     {"x-amz-date", time}},
         .payload_hash = fetcher::SigV4::kEmptyPayload},
        credentials, kNow));
  }
  state.SetItemsProcessed(state.iterations());
}

std::unique_ptr<EvictionPolicy> s3_fifo() { return make_s3_fifo(std::uint64_t{1} << 40); }

BENCHMARK(plan_of_a_read)->Arg(kRead)->Arg(16 << 20);
BENCHMARK(cached_read);
BENCHMARK(cold_bytes);
BENCHMARK(read_ahead_of_a_stream);
BENCHMARK(read_ahead_of_random_reads);
BENCHMARK(evict_and_insert<s3_fifo>)->Arg(1'000)->Arg(1'000'000);
BENCHMARK(evict_and_insert<make_lru>)->Arg(1'000)->Arg(1'000'000);
BENCHMARK(checksum_of_a_block);
BENCHMARK(frame_of_a_read);
BENCHMARK(signature_of_a_get);

}  // namespace
}  // namespace rangecache
