#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace rangecache::cache {

/// Some of a chunk's blocks: [begin, end), counted from the chunk's begin in kBlockSize.
struct BlockSpan {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// What is known of a chunk's blocks: the checksum of each, and whether its bytes were proved
/// since the start. One word for a chunk of one block, which most chunks of random reads are;
/// 4 bytes and a bit per block otherwise. Thread-safe.
///
/// A chunk that was found on the disk and not in the manifest begins with an unknown table: its
/// bytes are measured before their first use, and learn() enters what they should be from then on.
class BlockTable {
 public:
  /// Unknown.
  BlockTable() = default;
  /// `proved`: the bytes were written in this run.
  BlockTable(std::span<const std::uint32_t> checksums, bool proved);
  ~BlockTable();
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;

  bool known() const { return word_.load(std::memory_order_acquire) != kUnknown; }
  /// Enters the checksums of an unknown table, all proved. False if another thread was quicker.
  bool learn(std::span<const std::uint32_t> checksums);

  /// The following need a known table.
  std::size_t count() const;
  std::uint32_t checksum(std::size_t block) const;
  std::vector<std::uint32_t> checksums() const;
  void mark_proved(BlockSpan span);

  /// All blocks of the span were proved since the start. False for an unknown table.
  bool proved(BlockSpan span) const;
  /// The longest run of blocks around `block` that were all proved; empty if it was not.
  BlockSpan proved_around(std::size_t block) const;

  /// Bytes of memory beside the table itself.
  std::size_t heap_bytes() const;

 private:
  // The word: 0 unknown; bit 0 set: one block, bit 1 proved, bits 32 to 63 its checksum; else
  // the address of a Many, which owns the rest.
  struct Many;
  static constexpr std::uint64_t kUnknown = 0, kOne = 1, kOneProved = 2;
  static std::uint64_t make(std::span<const std::uint32_t> checksums, bool proved);
  static Many* many(std::uint64_t word) { return reinterpret_cast<Many*>(word); }
  static void free(std::uint64_t word);

  std::atomic<std::uint64_t> word_{kUnknown};
};

}  // namespace rangecache::cache
