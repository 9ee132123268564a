#include "cache/block_table.h"

#include <cstdlib>
#include <new>

#include "base/check.h"

namespace rangecache::cache {
namespace {

constexpr std::size_t kBits = 32;

}  // namespace

/// `count` checksums, then the proved blocks as words of kBits.
struct BlockTable::Many {
  std::size_t count;

  std::uint32_t* checksums() { return reinterpret_cast<std::uint32_t*>(this + 1); }
  std::atomic_ref<std::uint32_t> proved(std::size_t word) {
    return std::atomic_ref<std::uint32_t>(checksums()[count + word]);
  }
  static std::size_t words(std::size_t count) { return (count + kBits - 1) / kBits; }
  static std::size_t bytes(std::size_t count) {
    return sizeof(Many) + (count + words(count)) * sizeof(std::uint32_t);
  }
  /// The bits of word `index` that stand for blocks of `span`.
  static std::uint32_t mask(std::size_t index, BlockSpan span) {
    const std::size_t begin = index * kBits;
    std::uint32_t bits = ~std::uint32_t{0};
    if (span.begin > begin) bits &= ~std::uint32_t{0} << (span.begin - begin);
    if (span.end < begin + kBits) bits &= (std::uint32_t{1} << (span.end - begin)) - 1;
    return bits;
  }
};

BlockTable::BlockTable(std::span<const std::uint32_t> checksums, bool proved)
    : word_(make(checksums, proved)) {}

BlockTable::~BlockTable() { free(word_.load(std::memory_order_acquire)); }

std::uint64_t BlockTable::make(std::span<const std::uint32_t> checksums, bool proved) {
  CHECK(!checksums.empty());
  if (checksums.size() == 1)
    return kOne | (proved ? kOneProved : 0) | std::uint64_t{checksums[0]} << 32;
  void* memory = std::malloc(Many::bytes(checksums.size()));
  if (!memory) throw std::bad_alloc();
  auto* table = new (memory) Many{checksums.size()};
  std::uint32_t* to = table->checksums();
  for (const std::uint32_t checksum : checksums) *to++ = checksum;
  for (std::size_t i = 0; i < Many::words(checksums.size()); ++i)
    *to++ = proved ? ~std::uint32_t{0} : 0;
  return reinterpret_cast<std::uint64_t>(table);
}

void BlockTable::free(std::uint64_t word) {
  if (word != kUnknown && !(word & kOne)) std::free(many(word));
}

bool BlockTable::learn(std::span<const std::uint32_t> checksums) {
  const std::uint64_t learned = make(checksums, true);
  std::uint64_t expected = kUnknown;
  if (word_.compare_exchange_strong(expected, learned, std::memory_order_acq_rel)) return true;
  free(learned);
  return false;
}

std::size_t BlockTable::count() const {
  const std::uint64_t word = word_.load(std::memory_order_acquire);
  CHECK(word != kUnknown);
  return word & kOne ? 1 : many(word)->count;
}

std::uint32_t BlockTable::checksum(std::size_t block) const {
  CHECK(block < count());
  const std::uint64_t word = word_.load(std::memory_order_acquire);
  return word & kOne ? static_cast<std::uint32_t>(word >> 32) : many(word)->checksums()[block];
}

std::vector<std::uint32_t> BlockTable::checksums() const {
  const std::uint64_t word = word_.load(std::memory_order_acquire);
  if (count() == 1) return {static_cast<std::uint32_t>(word >> 32)};
  const std::uint32_t* sums = many(word)->checksums();
  return {sums, sums + many(word)->count};
}

void BlockTable::mark_proved(BlockSpan span) {
  CHECK(span.begin < span.end && span.end <= count());
  const std::uint64_t word = word_.load(std::memory_order_acquire);
  if (word & kOne) {
    word_.fetch_or(kOneProved, std::memory_order_release);
    return;
  }
  for (std::size_t i = span.begin / kBits; i * kBits < span.end; ++i)
    many(word)->proved(i).fetch_or(Many::mask(i, span), std::memory_order_release);
}

bool BlockTable::proved(BlockSpan span) const {
  const std::uint64_t word = word_.load(std::memory_order_acquire);
  if (word == kUnknown) return false;
  if (word & kOne) return word & kOneProved;
  for (std::size_t i = span.begin / kBits; i * kBits < span.end; ++i) {
    const std::uint32_t wanted = Many::mask(i, span);
    if ((many(word)->proved(i).load(std::memory_order_acquire) & wanted) != wanted) return false;
  }
  return true;
}

BlockSpan BlockTable::proved_around(std::size_t block) const {
  if (!proved({block, block + 1})) return {};
  if (const BlockSpan all{0, count()}; proved(all)) return all;
  BlockSpan span{block, block + 1};
  while (span.begin > 0 && proved({span.begin - 1, span.begin})) --span.begin;
  while (span.end < count() && proved({span.end, span.end + 1})) ++span.end;
  return span;
}

std::size_t BlockTable::heap_bytes() const {
  const std::uint64_t word = word_.load(std::memory_order_acquire);
  return word == kUnknown || word & kOne ? 0 : Many::bytes(many(word)->count);
}

}  // namespace rangecache::cache
