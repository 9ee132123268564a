#include "cache/chunk_writer.h"

#include "base/log.h"
#include "cache/io_uring_writer.h"
#include "cache/thread_writer.h"

namespace rangecache::cache {

Result<std::unique_ptr<ChunkWriter>> make_chunk_writer(ChunkStore& store, FileSystem& files,
                                                       WriterKind kind) {
  if (kind != WriterKind::kThreads) {
    auto writer = IoUringWriter::make(store, files);
    if (writer) return std::unique_ptr<ChunkWriter>(std::move(*writer));
    if (kind == WriterKind::kIoUring) return writer.error();
    log_info("{}: chunks are written by threads", writer.error().message());
  }
  return std::unique_ptr<ChunkWriter>(std::make_unique<ThreadWriter>(store, files));
}

}  // namespace rangecache::cache
