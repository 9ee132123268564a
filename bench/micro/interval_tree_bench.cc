#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "cache/interval_tree.h"

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kChunkSize = 1 << 20;

/// About as large as a real index entry, so that cache misses are as real.
struct Item {
  ByteRange range;
  IntervalHook hook;
  char rest[96] = {};
};
using Tree = IntervalTree<Item, &Item::hook, &Item::range>;

/// A file in chunks that overlap a little, entered in random order.
struct Filled {
  explicit Filled(std::size_t count) : items(count) {
    std::vector<std::size_t> order(count);
    for (std::size_t i = 0; i < count; ++i) {
      items[i].range = ByteRange::at(i * kChunkSize, kChunkSize + kChunkSize / 8);
      order[i] = i;
    }
    std::shuffle(order.begin(), order.end(), random);
    for (const std::size_t i : order) tree.insert(items[i]);
  }
  std::uint64_t any_offset() { return random() % (items.size() * kChunkSize); }

  std::mt19937_64 random{1};
  std::vector<Item> items;
  Tree tree;
};

void covering(benchmark::State& state) {
  Filled filled(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) benchmark::DoNotOptimize(filled.tree.covering(filled.any_offset()));
  state.SetItemsProcessed(state.iterations());
}

void overlaps_of_four_chunks(benchmark::State& state) {
  Filled filled(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    std::uint64_t bytes = 0;
    filled.tree.for_each_overlap(ByteRange::at(filled.any_offset(), 4 * kChunkSize),
                                 [&](const Item& item) { bytes += item.range.size(); });
    benchmark::DoNotOptimize(bytes);
  }
  state.SetItemsProcessed(state.iterations());
}

/// Eviction and arrival in a full index; one item is one of each.
void erase_and_insert(benchmark::State& state) {
  Filled filled(static_cast<std::size_t>(state.range(0)));
  for (auto _ : state) {
    Item& item = filled.items[filled.random() % filled.items.size()];
    filled.tree.erase(item);
    filled.tree.insert(item);
  }
  state.SetItemsProcessed(state.iterations());
}

void fill(benchmark::State& state) {
  for (auto _ : state) Filled filled(static_cast<std::size_t>(state.range(0)));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

BENCHMARK(covering)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
BENCHMARK(overlaps_of_four_chunks)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
BENCHMARK(erase_and_insert)->Arg(1'000)->Arg(100'000)->Arg(1'000'000);
BENCHMARK(fill)->Arg(1'000)->Arg(100'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace rangecache::cache
