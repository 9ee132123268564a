#pragma once

#include <cstdint>
#include <vector>

#include "base/file_system.h"
#include "cache/records.h"
#include "rangecache/byte_range.h"
#include "rangecache/result.h"

namespace rangecache::cache {

/// Reads blocks of a chunk file (bit i: block i, kBlockSize bytes from i * kBlockSize, the last
/// one shorter) and compares them with their checksums. True: all match. False: some do not, the
/// file is too short, or the checksums are not as many as the chunk has blocks; then nothing of
/// what was asked for counts as proved. kIo: the disk failed, which says nothing about the bytes.
///
/// Does not move the file's offset; bits past the chunk's last block are ignored. Blocks the
/// calling thread for the reads.
Result<bool> verify_blocks(FileSystem& files, int fd, ByteRange chunk,
                           const std::vector<std::uint32_t>& checksums, std::uint64_t blocks);

}  // namespace rangecache::cache
