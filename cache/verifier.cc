#include "cache/verifier.h"

#include <xxhash.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <span>

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kMaskBits = 64;

}  // namespace

std::uint32_t block_checksum(const void* data, std::size_t size) {
  return static_cast<std::uint32_t>(XXH3_64bits(data, size));
}

Result<bool> verify_blocks(FileSystem& files, int fd, ByteRange chunk,
                           const std::vector<std::uint32_t>& checksums, std::uint64_t blocks) {
  const std::uint64_t count = (chunk.size() + kBlockSize - 1) / kBlockSize;
  if (checksums.size() != count) return false;
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kBlockSize);
  for (std::uint64_t i = 0; i < std::min(count, kMaskBits); ++i) {
    if (!(blocks >> i & 1)) continue;
    const std::uint64_t offset = i * kBlockSize;
    const std::uint64_t size = std::min(kBlockSize, chunk.size() - offset);
    RC_ASSIGN(const std::size_t have, files.read_at(fd, std::span(buffer.get(), size), offset));
    if (have < size || block_checksum(buffer.get(), size) != checksums[i]) return false;
  }
  return true;
}

}  // namespace rangecache::cache
