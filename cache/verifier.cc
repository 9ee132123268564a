#include "cache/verifier.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <functional>
#include <memory>

namespace rangecache::cache {
namespace {

constexpr std::size_t kReadBlocks = 16;  // 1 MiB a read: fewer, larger requests to the disk

/// Calls `visit(block, bytes)` for each block of the span until it says false; false then, and
/// when the file ends too early.
Result<bool> for_each_block(FileSystem& files, int fd, ByteRange chunk, BlockSpan span,
                            const std::function<bool(std::size_t, std::span<std::byte>)>& visit) {
  const std::size_t most = std::min(kReadBlocks, span.end - span.begin) * kBlockSize;
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(most);
  for (std::size_t block = span.begin; block < span.end;) {
    const std::uint64_t offset = block * kBlockSize;
    const std::uint64_t until = std::min<std::uint64_t>(chunk.size(), span.end * kBlockSize);
    std::span<std::byte> part(buffer.get(), std::min<std::uint64_t>(most, until - offset));
    RC_ASSIGN(const std::size_t have, files.read_at(fd, part, offset));
    if (have < part.size()) return false;
    while (!part.empty()) {
      const std::size_t size = std::min<std::size_t>(kBlockSize, part.size());
      if (!visit(block++, part.first(size))) return false;
      part = part.subspan(size);
    }
  }
  return true;
}

}  // namespace

std::uint32_t block_checksum(const void* data, std::size_t size) {
  return static_cast<std::uint32_t>(XXH3_64bits(data, size));
}

std::uint64_t chunk_checksum(std::span<const std::uint32_t> blocks) {
  static_assert(std::endian::native == std::endian::little, "as the manifest has them");
  return XXH3_64bits(blocks.data(), blocks.size_bytes());
}

Result<bool> verify_blocks(FileSystem& files, int fd, ByteRange chunk, const BlockTable& blocks,
                           BlockSpan span,
                           const std::function<void(std::span<const std::byte>)>& proved) {
  return for_each_block(files, fd, chunk, span, [&](std::size_t block, std::span<std::byte> bytes) {
    if (block_checksum(bytes.data(), bytes.size()) != blocks.checksum(block)) return false;
    if (proved) proved(bytes);
    return true;
  });
}

Result<std::vector<std::uint32_t>> measure_chunk(FileSystem& files, int fd, ByteRange chunk) {
  std::vector<std::uint32_t> checksums;
  RC_ASSIGN(const bool complete,
            for_each_block(files, fd, chunk, {0, block_count(chunk)},
                           [&](std::size_t, std::span<std::byte> bytes) {
                             checksums.push_back(block_checksum(bytes.data(), bytes.size()));
                             return true;
                           }));
  if (!complete) return Error(ErrorCode::kCorrupt, "a chunk file ends too early");
  return checksums;
}

}  // namespace rangecache::cache
