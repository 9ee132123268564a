#include "base/event_loop.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <array>
#include <cerrno>

#include "base/check.h"
#include "base/clock.h"

namespace rangecache {

EventLoop::EventLoop(const std::string& thread_name)
    : epoll_(epoll_create1(EPOLL_CLOEXEC)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  CHECK(epoll_ && wake_);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = wake_.get();
  CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event) == 0);
  thread_ = std::thread([this] { run(); });
  thread_id_ = thread_.get_id();
  pthread_setname_np(thread_.native_handle(), thread_name.substr(0, 15).c_str());
}

EventLoop::~EventLoop() { stop(); }

void EventLoop::wake() {
  const std::uint64_t one = 1;
  // A full counter (EAGAIN) already wakes the loop.
  [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
}

void EventLoop::post(Task task) {
  bool first = false;
  {
    MutexLock lock(mu_);
    if (stopping_) return;
    first = posted_.empty();
    posted_.push_back(std::move(task));
  }
  if (first) wake();  // later tasks ride on the wake-up of the first
}

void EventLoop::stop() {
  {
    MutexLock lock(mu_);
    stopping_ = true;
  }
  wake();
  if (thread_.joinable()) {
    CHECK(!in_loop_thread());
    thread_.join();
  }
}

void EventLoop::watch(int fd, std::uint32_t epoll_events, FdCallback callback) {
  epoll_event event{};
  event.events = epoll_events;
  event.data.fd = fd;
  CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0);
  watches_[fd] = std::make_shared<Watch>(Watch{std::move(callback), next_serial_++});
}

void EventLoop::modify(int fd, std::uint32_t epoll_events) {
  epoll_event event{};
  event.events = epoll_events;
  event.data.fd = fd;
  CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0);
}

void EventLoop::unwatch(int fd) {
  if (watches_.erase(fd) == 0) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);  // EBADF: already closed, gone from the set
}

EventLoop::TimerId EventLoop::call_after_ms(std::int64_t delay_ms, Task task) {
  const TimerId id{system_clock().monotonic_ns() + delay_ms * 1'000'000, next_serial_++};
  timers_.emplace(id, std::move(task));
  return id;
}

void EventLoop::cancel(TimerId timer) { timers_.erase(timer); }

bool EventLoop::run_posted() {
  std::vector<Task> tasks;
  bool stopping = false;
  {
    MutexLock lock(mu_);
    tasks.swap(posted_);
    stopping = stopping_;
  }
  for (Task& task : tasks) task();
  return !stopping;
}

int EventLoop::run_due_timers() {
  for (;;) {
    if (timers_.empty()) return -1;
    const auto first = timers_.begin();
    const std::int64_t wait_ns = first->first.first - system_clock().monotonic_ns();
    if (wait_ns > 0)
      return static_cast<int>(std::min<std::int64_t>(wait_ns / 1'000'000 + 1, 60'000));
    Task task = std::move(first->second);
    timers_.erase(first);
    task();
  }
}

void EventLoop::run() {
  thread_id_ = std::this_thread::get_id();
  std::array<epoll_event, 64> events;
  for (;;) {
    const int timeout_ms = run_due_timers();
    const int count = epoll_wait(epoll_.get(), events.data(), events.size(), timeout_ms);
    CHECK(count >= 0 || errno == EINTR);
    const std::uint64_t round = next_serial_;  // watches made from here on were not polled
    for (int i = 0; i < count; ++i) {
      const int fd = events[i].data.fd;
      if (fd == wake_.get()) {
        std::uint64_t ignored = 0;
        [[maybe_unused]] const auto got = ::read(wake_.get(), &ignored, sizeof ignored);
        continue;
      }
      const auto found = watches_.find(fd);
      if (found == watches_.end() || found->second->serial >= round) continue;
      const std::shared_ptr<Watch> watch = found->second;  // survives its own unwatch()
      watch->callback(events[i].events);
    }
    if (!run_posted()) return;
  }
}

}  // namespace rangecache
