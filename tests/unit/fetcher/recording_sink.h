#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "base/origin.h"

namespace rangecache::fetcher {

/// Remembers what a fetch delivered; on_done ends wait(). Thread-safe.
class RecordingSink final : public FetchSink {
 public:
  struct Behaviour {
    bool abort_at_head = false;
    std::size_t abort_after_bytes = SIZE_MAX;
    std::size_t pause_after_bytes = SIZE_MAX;  ///< once
  };
  RecordingSink() = default;
  explicit RecordingSink(Behaviour behaviour) : behaviour_(behaviour) {}

  Verdict on_head(const FetchHead& head) override {
    MutexLock lock(mu_);
    ++heads_;
    head_ = head;
    return behaviour_.abort_at_head ? Verdict::kAbort : Verdict::kContinue;
  }
  Verdict on_data(std::span<const std::byte> data) override {
    MutexLock lock(mu_);
    if (data_.size() >= behaviour_.abort_after_bytes) return Verdict::kAbort;
    if (data_.size() >= behaviour_.pause_after_bytes) {
      behaviour_.pause_after_bytes = SIZE_MAX;
      paused_ = true;
      changed_.notify_all();
      return Verdict::kPause;
    }
    data_.append(reinterpret_cast<const char*>(data.data()), data.size());
    return Verdict::kContinue;
  }
  void on_done(Result<void> result) override {
    MutexLock lock(mu_);
    ++dones_;
    result_ = std::move(result);
    changed_.notify_all();
  }

  /// The result, or kInternal when none came within twenty seconds.
  Result<void> wait() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    MutexLock lock(mu_);
    while (!result_) {
      if (std::chrono::steady_clock::now() > deadline)
        return Error{ErrorCode::kInternal, "the fetch never ended"};
      changed_.wait_for(mu_, std::chrono::seconds(1));
    }
    return *result_;
  }
  void wait_until_paused() {
    MutexLock lock(mu_);
    while (!paused_ && !result_) changed_.wait(mu_);
  }
  std::string data() {
    MutexLock lock(mu_);
    return data_;
  }
  std::optional<FetchHead> head() {
    MutexLock lock(mu_);
    return head_;
  }
  int heads() {
    MutexLock lock(mu_);
    return heads_;
  }
  int dones() {
    MutexLock lock(mu_);
    return dones_;
  }

 private:
  Behaviour behaviour_;
  Mutex mu_;
  CondVar changed_;
  std::string data_ GUARDED_BY(mu_);
  std::optional<FetchHead> head_ GUARDED_BY(mu_);
  std::optional<Result<void>> result_ GUARDED_BY(mu_);
  bool paused_ GUARDED_BY(mu_) = false;
  int heads_ GUARDED_BY(mu_) = 0;
  int dones_ GUARDED_BY(mu_) = 0;
};

}  // namespace rangecache::fetcher
