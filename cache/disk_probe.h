#pragma once

#include "base/file_system.h"
#include "cache/chunk_store.h"
#include "rangecache/result.h"

namespace rangecache::cache {

/// Tries whether the cache directory takes and gives back bytes: one small file is written to
/// tmp/, read, renamed into objects/ (as `probe`) and deleted. Directories that somebody removed
/// are made again. Blocks for the disk; one thread at a time. Leaves nothing behind but, if the
/// disk fails half-way, that one file, which the next probe overwrites.
Result<void> probe_disk(FileSystem& files, ChunkStore& store);

}  // namespace rangecache::cache
