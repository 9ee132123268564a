#include "cache/prove.h"

#include <fmt/format.h>

#include "cache/verifier.h"
#include "cache/version.h"

namespace rangecache::cache {

Result<void> prove(const ChunkStore& store, int fd, Chunk& chunk, BlockSpan span) {
  if (!chunk.blocks.known()) {
    // It has to be what its attribute says, as a whole.
    RC_ASSIGN(const auto checksums, store.prove(chunk.version->id(), chunk.range, fd));
    chunk.blocks.learn(checksums);
    return {};
  }
  RC_ASSIGN(const bool whole, verify_blocks(store.files(), fd, chunk.range, chunk.blocks, span));
  if (!whole) {
    return Error(ErrorCode::kCorrupt,
                 fmt::format("chunk {}-{} of {} does not match its checksum", chunk.range.begin,
                             chunk.range.end, chunk.version->url()));
  }
  chunk.blocks.mark_proved(span);
  return {};
}

}  // namespace rangecache::cache
