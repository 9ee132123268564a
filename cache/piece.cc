#include "cache/piece.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

namespace rangecache::cache {

std::size_t Piece::append(const std::byte* data, std::size_t size) {
  CHECK(!sealed_);
  const std::size_t taken = std::min<std::uint64_t>(size, range_.size() - filled_);
  std::memcpy(buffer_->data() + filled_, data, taken);
  filled_ += taken;
  while ((checksums_.size() + 1) * kBlockSize <= filled_) {
    checksums_.push_back(block_checksum(this->data() + checksums_.size() * kBlockSize, kBlockSize));
  }
  return taken;
}

void Piece::truncate(std::uint64_t end) {
  CHECK(!sealed_ && end > range_.begin && end <= filled().end);
  filled_ = end - range_.begin;
  checksums_.resize(std::min<std::size_t>(checksums_.size(), filled_ / kBlockSize));
}

void Piece::seal() {
  CHECK(!sealed_);
  range_.end = range_.begin + filled_;
  const std::uint64_t summed = checksums_.size() * kBlockSize;
  if (summed < filled_) checksums_.push_back(block_checksum(data() + summed, filled_ - summed));
  sealed_ = true;
}

}  // namespace rangecache::cache
