#include "base/clock.h"

#include <ctime>

namespace rangecache {
namespace {

class SystemClock final : public Clock {
 public:
  std::int64_t monotonic_ns() const override {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
  }
  std::int64_t unix_s() const override { return std::time(nullptr); }
};

}  // namespace

const Clock& system_clock() {
  static const SystemClock clock;
  return clock;
}

}  // namespace rangecache
