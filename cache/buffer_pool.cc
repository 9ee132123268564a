#include "cache/buffer_pool.h"

#include <cstdlib>
#include <new>

#include "base/check.h"
#include "cache/piece.h"

namespace rangecache::cache {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kMaxSpare = 16;

}  // namespace

Buffer::~Buffer() { pool_->give_back(data_, size_); }

BufferPool::BufferPool(std::size_t limit_bytes, Metrics& metrics)
    : limit_(limit_bytes),
      used_gauge_(metrics.gauge("rangecache_memory_bytes", "Object bytes held in memory")) {
  metrics.gauge("rangecache_memory_limit_bytes", "Limit of rangecache_memory_bytes")
      .set(static_cast<std::int64_t>(limit_bytes));
}

BufferPool::~BufferPool() {
  for (std::byte* data : spare_) std::free(data);
}

std::unique_ptr<Buffer> BufferPool::try_allocate(std::size_t size) {
  CHECK(size > 0);
  size = (size + kPage - 1) / kPage * kPage;
  std::byte* data = nullptr;
  std::vector<std::byte*> crowded_out;
  {
    MutexLock lock(mu_);
    if (used_ + size > limit_) return nullptr;
    used_ += size;
    if (size == kPieceSize && !spare_.empty()) {
      data = spare_.back();
      spare_.pop_back();
    }
    while (!spare_.empty() && used_ + spare_.size() * kPieceSize > limit_) {
      crowded_out.push_back(spare_.back());
      spare_.pop_back();
    }
  }
  for (std::byte* spare : crowded_out) std::free(spare);
  used_gauge_.add(static_cast<std::int64_t>(size));
  if (!data) data = static_cast<std::byte*>(std::aligned_alloc(kPage, size));
  if (!data) throw std::bad_alloc();
  return std::make_unique<Buffer>(shared_from_this(), data, size);
}

std::size_t BufferPool::spare() const {
  MutexLock lock(mu_);
  return spare_.size() * kPieceSize;
}

void BufferPool::when_available(std::size_t size, UniqueFunction<void()> retry) {
  {
    MutexLock lock(mu_);
    if (used_ + size > limit_) {
      waiting_.push_back(std::move(retry));
      return;
    }
  }
  retry();
}

void BufferPool::give_back(std::byte* data, std::size_t size) {
  std::deque<UniqueFunction<void()>> retries;
  {
    MutexLock lock(mu_);
    used_ -= size;
    if (size == kPieceSize && spare_.size() < kMaxSpare) {
      spare_.push_back(data);
      data = nullptr;
    }
    retries.swap(waiting_);
  }
  used_gauge_.add(-static_cast<std::int64_t>(size));
  std::free(data);
  for (auto& retry : retries) retry();
}

}  // namespace rangecache::cache
