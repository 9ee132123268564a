#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "cache/buffer_pool.h"
#include "cache/chunk.h"
#include "cache/records.h"
#include "rangecache/byte_range.h"

namespace rangecache::cache {

/// The most bytes that are held, written and evicted as one. 64 blocks of kBlockSize, so that
/// the verified blocks of a chunk fit one word.
inline constexpr std::uint64_t kPieceSize = 64 * kBlockSize;

/// Bytes of one version in memory: being filled by a flight, then on their way to the disk.
/// Filled by the origin's thread under the version's lock; bytes below filled() never change, so
/// that slices may be read without it.
class Piece {
 public:
  Piece(ByteRange range, std::unique_ptr<Buffer> buffer)
      : range_(range), buffer_(std::move(buffer)) {}

  std::uint64_t begin() const { return range_.begin; }
  /// Where the piece ends, or would end when its flight were complete.
  std::uint64_t end() const { return range_.end; }
  ByteRange filled() const { return {range_.begin, range_.begin + filled_}; }
  std::size_t memory_bytes() const { return buffer_->size(); }  ///< that it takes, filled or not
  bool full() const { return filled_ == range_.size(); }
  const std::byte* data() const { return buffer_->data(); }
  const std::byte* at(std::uint64_t offset) const { return data() + (offset - range_.begin); }

  /// Copies as much of `data` as fits; returns how much that was. Checksums each block as soon
  /// as it is whole: over the network's bytes, while they are in the CPU's cache.
  std::size_t append(const std::byte* data, std::size_t size);
  /// Forgets the bytes from `end` on, which were filled. Slices of them stay valid.
  void truncate(std::uint64_t end);
  /// No more bytes will come: cuts the range to what is filled and checksums the last block.
  void seal();
  bool sealed() const { return sealed_; }
  const std::vector<std::uint32_t>& checksums() const { return checksums_; }

  /// A read-ahead brings it, and no reader has asked for its bytes so far.
  std::atomic<bool> unread_ahead{false};

  // Guarded by the version's lock:
  std::uint64_t served = 0;  ///< bytes that readers got; those that two got count twice
  ChunkPtr chunk;            ///< that has the same bytes, on disk; null as long as none has
  /// Have bytes of it, and wait for others.
  std::vector<std::weak_ptr<struct Read>> waiting;

 private:
  ByteRange range_;
  std::unique_ptr<Buffer> buffer_;
  std::uint64_t filled_ = 0;
  bool sealed_ = false;
  std::vector<std::uint32_t> checksums_;
};

}  // namespace rangecache::cache
