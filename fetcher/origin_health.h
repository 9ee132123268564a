#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/metrics.h"
#include "base/mutex.h"
#include "fetcher/budget.h"
#include "fetcher/circuit_breaker.h"
#include "fetcher/concurrency_limit.h"
#include "fetcher/http_request.h"
#include "fetcher/latency_window.h"
#include "fetcher/retry_policy.h"

namespace rangecache::fetcher {

struct OriginLimits {
  RetryPolicy retry;
  CircuitBreaker::Options breaker;
  double retry_share = 0.2;    ///< retries per success, once the reserve is used up
  double retry_reserve = 100;  ///< retries
  double hedge_share = 0.05;   ///< second requests per data request; 0: never
  std::int64_t hedge_floor_ms = 50;
  bool offline = false;  ///< nothing is sent
};

/// Numbers of all origins together.
struct OriginMetrics {
  explicit OriginMetrics(Metrics& metrics);
  Counter& errors;
  Counter& retries;
  Counter& unretried;
  Counter& slowdowns;
  Counter& refusals;
  Counter& hedges;
  Counter& hedges_won;
  Gauge& unreachable;
};

/// What one origin's answers of late say of it, and what follows for the next request: whether it
/// is sent at all, how many run at once, when it is sent again and when a second time. Thread-safe;
/// times are monotonic nanoseconds.
class OriginHealth {
 public:
  /// `name`: for people. `max_places`: of data requests. The metrics outlive it.
  OriginHealth(std::string name, int max_places, OriginLimits limits, OriginMetrics& metrics);

  // What CurlLoop tells of each request, in this order; none of the three after refusal().
  /// nullopt: send it. Else why it is not even tried.
  std::optional<Error> refusal(std::int64_t now_ns) EXCLUDES(mu_);
  /// The status came. `measured`: its time to the first byte is typical of data.
  void answered(int status, std::int64_t sent_ns, std::int64_t now_ns, bool measured) EXCLUDES(mu_);
  /// No answer, or one that broke (`had_answer`).
  void failed(const Error& error, bool had_answer, std::int64_t sent_ns, std::int64_t now_ns)
      EXCLUDES(mu_);

  /// How many data requests may run now.
  int places() const EXCLUDES(mu_);

  /// A request (or a resumption of one) came to a good end after `retries`.
  void succeeded(int retries) EXCLUDES(mu_);
  /// Milliseconds until the next try after the `failures`-th failure in a row; nullopt: give up,
  /// and `failure.error` says so. `since_ns`: when the first of these tries began.
  std::optional<std::int64_t> retry_delay_ms(int failures, HttpFailure& failure,
                                             std::int64_t since_ns, std::int64_t now_ns)
      EXCLUDES(mu_);
  /// It failed for good.
  void gave_up(const HttpFailure& failure);

  /// After how long without an answer a second request is worth it; nullopt: never.
  std::optional<std::int64_t> hedge_delay_ms() const EXCLUDES(mu_);
  bool may_hedge(std::int64_t now_ns) EXCLUDES(mu_);
  void hedge_won() { metrics_.hedges_won.add(); }

  struct Status {
    std::string name;
    CircuitBreaker::State breaker = CircuitBreaker::State::kClosed;
    std::string last_error;  ///< while the breaker is not closed
    int places = 0;
    int max_places = 0;
    double p50_s = 0;  ///< to the first byte, of the last data requests; 0: too few
    double p95_s = 0;
  };
  Status status() const EXCLUDES(mu_);

 private:
  void close_breaker() REQUIRES(mu_);

  const std::string name_;
  const int max_places_;
  const OriginLimits limits_;
  OriginMetrics& metrics_;
  mutable Mutex mu_;
  CircuitBreaker breaker_ GUARDED_BY(mu_);
  ConcurrencyLimit concurrency_ GUARDED_BY(mu_);
  LatencyWindow latency_ GUARDED_BY(mu_);
  Budget retries_ GUARDED_BY(mu_);
  Budget hedges_ GUARDED_BY(mu_);
  std::string last_error_ GUARDED_BY(mu_);
};

}  // namespace rangecache::fetcher
