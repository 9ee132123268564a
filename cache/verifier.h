#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/file_system.h"
#include "cache/block_table.h"
#include "cache/records.h"
#include "rangecache/byte_range.h"
#include "rangecache/result.h"

namespace rangecache::cache {

/// How many blocks a chunk has; the last one may be shorter than kBlockSize.
constexpr std::size_t block_count(ByteRange chunk) {
  return static_cast<std::size_t>((chunk.size() + kBlockSize - 1) / kBlockSize);
}

/// Reads the blocks `span` of a chunk file and compares them with their checksums. True: all
/// match. False: some do not, or the file is too short. An error: the disk failed, which says
/// nothing about the bytes.
///
/// `proved`, if given, gets the bytes that matched, in order. Does not move the file's offset.
/// Blocks the calling thread for the reads.
Result<bool> verify_blocks(FileSystem& files, int fd, ByteRange chunk, const BlockTable& blocks,
                           BlockSpan span,
                           const std::function<void(std::span<const std::byte>)>& proved = nullptr);

/// The checksum of each block as the file is, whatever it should be. Reads all of it. kCorrupt: it
/// is shorter than the chunk.
Result<std::vector<std::uint32_t>> measure_chunk(FileSystem& files, int fd, ByteRange chunk);

}  // namespace rangecache::cache
