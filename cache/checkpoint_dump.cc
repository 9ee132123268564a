#include "cache/checkpoint_dump.h"

#include <utility>

namespace rangecache::cache {

ChunkRecord record_of(const Chunk& chunk) {
  ChunkRecord record{chunk.version->id(), chunk.range, {}};
  if (chunk.blocks.known()) record.checksums = chunk.blocks.checksums();
  return record;
}

bool CheckpointDump::go_on() {
  std::size_t records = 0;
  while (next_ < versions_.size() && records < kSlice) {
    const VersionPtr& version = versions_[next_];
    if (!version->on_disk.directory) {
      ++next_;
      continue;
    }
    if (offset_ == 0) writer_->version(version->record());
    ++records;
    const auto chunks = version->chunks_from(offset_, kSlice);
    for (const ChunkPtr& chunk : chunks) writer_->chunk(record_of(*chunk));
    records += chunks.size();
    if (chunks.size() < kSlice) {
      ++next_;
      offset_ = 0;
    } else {
      offset_ = chunks.back()->range.begin + 1;
    }
  }
  return next_ < versions_.size() && !writer_->failed();
}

std::unique_ptr<CheckpointWriter> CheckpointDump::finish(const std::vector<ChunkPtr>& set_aside) {
  for (const ChunkPtr& chunk : set_aside) writer_->chunk(record_of(*chunk));
  return std::move(writer_);
}

}  // namespace rangecache::cache
