#include "fuse/invalidator.h"

#include <pthread.h>

#include <utility>

namespace rangecache::fuse {

Invalidator::Invalidator(Notify notify) : notify_(std::move(notify)), thread_([this] { run(); }) {
  pthread_setname_np(thread_.native_handle(), "rc-fuse-inval");
}

Invalidator::~Invalidator() { stop(); }

bool Invalidator::add(std::uint64_t parent, std::string name) {
  MutexLock lock(mu_);
  if (stopping_ || queue_.size() >= kQueueLimit) return false;
  queue_.push_back({parent, std::move(name)});
  changed_.notify_one();
  return true;
}

void Invalidator::stop() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
    changed_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void Invalidator::run() {
  for (;;) {
    Item item;
    {
      MutexLock lock(mu_);
      while (queue_.empty() && !stopping_) changed_.wait(mu_);
      if (stopping_) return;
      item = std::move(queue_.front());
      queue_.pop_front();
    }
    notify_(item.parent, item.name);
  }
}

}  // namespace rangecache::fuse
