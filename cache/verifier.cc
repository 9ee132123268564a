#include "cache/verifier.h"

#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>

namespace rangecache::cache {

std::uint32_t block_checksum(const void* data, std::size_t size) {
  return static_cast<std::uint32_t>(XXH3_64bits(data, size));
}

Result<bool> verify_blocks(int fd, ByteRange chunk, const std::vector<std::uint32_t>& checksums,
                           std::uint64_t blocks) {
  std::array<std::byte, kBlockSize> buffer;
  for (std::size_t block = 0; block < checksums.size(); ++block) {
    if (!(blocks >> block & 1)) continue;
    const std::uint64_t begin = block * kBlockSize;
    const std::uint64_t wanted = std::min(kBlockSize, chunk.size() - begin);
    std::uint64_t got = 0;
    while (got < wanted) {
      const ssize_t n = ::pread(fd, buffer.data() + got, wanted - got,
                                static_cast<off_t>(begin + got));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Error(ErrorCode::kIo, "a chunk file cannot be read", errno);
      if (n == 0) return false;
      got += static_cast<std::uint64_t>(n);
    }
    if (block_checksum(buffer.data(), wanted) != checksums[block]) return false;
  }
  return true;
}

}  // namespace rangecache::cache
