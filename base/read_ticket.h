#pragma once

#include <memory>
#include <utility>

#include "base/unique_function.h"

namespace rangecache {

/// Lets a reader give up. Dropping the ticket does not cancel.
class ReadTicket {
 public:
  ReadTicket() = default;
  explicit ReadTicket(UniqueFunction<void()> cancel) : cancel_(std::move(cancel)) {}
  /// The read's callback is called with kCancelled, unless it was called already. What others
  /// wait for goes on. Any thread.
  void cancel() {
    if (cancel_) cancel_();
  }

 private:
  UniqueFunction<void()> cancel_;
};

}  // namespace rangecache
