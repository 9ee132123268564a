#pragma once

#include <cstdint>
#include <vector>

#include "cache/records.h"
#include "rangecache/byte_range.h"
#include "rangecache/result.h"

namespace rangecache::cache {

/// Reads the blocks of a chunk file whose bits are set in `blocks` (bit i: block i) and compares
/// them with their checksums. False: other bytes than were written, or too few. kIo: the disk
/// could not tell.
Result<bool> verify_blocks(int fd, ByteRange chunk, const std::vector<std::uint32_t>& checksums,
                           std::uint64_t blocks);

}  // namespace rangecache::cache
