#pragma once

#include "cache/chunk.h"
#include "cache/chunk_store.h"
#include "rangecache/result.h"

namespace rangecache::cache {

/// Reads the blocks `span` of a chunk from its open file and marks them as proved; all of it, if
/// the chunk was found on the disk and its blocks are not known yet. kCorrupt: its bytes are not
/// what they were when they came from the origin. Other errors say nothing about them. Blocks for
/// I/O.
Result<void> prove(const ChunkStore& store, int fd, Chunk& chunk, BlockSpan span);

}  // namespace rangecache::cache
