#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "base/metrics.h"
#include "base/mutex.h"
#include "base/unique_function.h"

namespace rangecache::cache {

class BufferPool;

/// Page-aligned memory from a BufferPool; goes back to it when dropped.
class Buffer {
 public:
  Buffer(std::shared_ptr<BufferPool> pool, std::byte* data, std::size_t size)
      : pool_(std::move(pool)), data_(data), size_(size) {}
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::shared_ptr<BufferPool> pool_;
  std::byte* data_;
  std::size_t size_;
};

/// All memory that holds object bytes between the wire and the disk or the reader (promise 9).
/// Handed out up to a limit; who gets none registers to be called when there is some again.
/// Thread-safe.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  BufferPool(std::size_t limit_bytes, Metrics& metrics);
  ~BufferPool();

  /// nullptr when the limit does not allow it now. `size` > 0; rounded up to whole pages.
  std::unique_ptr<Buffer> try_allocate(std::size_t size) EXCLUDES(mu_);
  /// Calls `retry` once: at once if `size` bytes are free, else on the thread that gives memory
  /// back. `retry` must not block; it may find the memory gone again.
  void when_available(std::size_t size, UniqueFunction<void()> retry) EXCLUDES(mu_);

  std::size_t limit() const { return limit_; }
  /// Memory that is in nobody's use and kept for the next: within the limit, too.
  std::size_t spare() const EXCLUDES(mu_);
  std::size_t used() const { return static_cast<std::size_t>(used_gauge_.value()); }

 private:
  friend class Buffer;
  void give_back(std::byte* data, std::size_t size) EXCLUDES(mu_);

  const std::size_t limit_;
  Gauge& used_gauge_;

  mutable Mutex mu_;
  std::size_t used_ GUARDED_BY(mu_) = 0;
  /// Freed buffers of the largest size, kept warm: their pages are mapped already.
  std::vector<std::byte*> spare_ GUARDED_BY(mu_);
  std::deque<UniqueFunction<void()>> waiting_ GUARDED_BY(mu_);
};

}  // namespace rangecache::cache
