#include "cache/verifier.h"

#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <memory>

namespace rangecache::cache {
namespace {

constexpr std::uint64_t kMaskBits = 64;

/// How many of the `size` bytes at `offset` there are: fewer only at the file's end.
Result<std::size_t> read_full(int fd, std::byte* to, std::size_t size, std::uint64_t offset) {
  std::size_t have = 0;
  while (have < size) {
    const ssize_t n = ::pread(fd, to + have, size - have, static_cast<off_t>(offset + have));
    if (n == 0) break;
    if (n > 0) {
      have += static_cast<std::size_t>(n);
    } else if (errno != EINTR) {
      return Error(ErrorCode::kIo, "cannot read a chunk file to verify it", errno);
    }
  }
  return have;
}

}  // namespace

std::uint32_t block_checksum(const void* data, std::size_t size) {
  return static_cast<std::uint32_t>(XXH3_64bits(data, size));
}

Result<bool> verify_blocks(int fd, ByteRange chunk, const std::vector<std::uint32_t>& checksums,
                           std::uint64_t blocks) {
  const std::uint64_t count = (chunk.size() + kBlockSize - 1) / kBlockSize;
  if (checksums.size() != count) return false;
  const auto buffer = std::make_unique_for_overwrite<std::byte[]>(kBlockSize);
  for (std::uint64_t i = 0; i < std::min(count, kMaskBits); ++i) {
    if (!(blocks >> i & 1)) continue;
    const std::uint64_t offset = i * kBlockSize;
    const std::uint64_t size = std::min(kBlockSize, chunk.size() - offset);
    RC_ASSIGN(const std::size_t have, read_full(fd, buffer.get(), size, offset));
    if (have < size || block_checksum(buffer.get(), size) != checksums[i]) return false;
  }
  return true;
}

}  // namespace rangecache::cache
