#include "fetcher/origin_health.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>

#include "base/log.h"

namespace rangecache::fetcher {
namespace {

constexpr double kNsPerSecond = 1e9;

std::uint64_t random_number() {
  thread_local std::mt19937_64 generator{std::random_device{}()};
  return generator();
}

/// Too many requests, or more than it can do now: the server works, but wants fewer.
bool asks_for_less(int status) { return status == 429 || status == 503; }

/// A proxy says that the server behind it does not answer. Other errors may be of one object.
bool shows_outage(int status) { return status == 502 || status == 504; }

}  // namespace

OriginMetrics::OriginMetrics(Metrics& metrics)
    : errors(metrics.counter("rangecache_origin_errors_total",
                             "Requests that failed for good: unreachable, timed out, broken")),
      retries(metrics.counter("rangecache_origin_retries_total",
                              "Requests sent again after a failure that may pass")),
      unretried(metrics.counter("rangecache_origin_retries_refused_total",
                                "Requests not sent again because too many were")),
      slowdowns(metrics.counter("rangecache_origin_slowdowns_total",
                                "Times that an origin wanted fewer requests at once")),
      refusals(metrics.counter("rangecache_origin_refused_total",
                               "Requests not sent because their origin does not answer")),
      hedges(metrics.counter("rangecache_origin_hedges_total",
                             "Second requests for what the first brought unusually late")),
      hedges_won(metrics.counter("rangecache_origin_hedges_won_total",
                                 "Second requests that were answered first")),
      unreachable(metrics.gauge("rangecache_origins_unreachable",
                                "Origins that do not answer and are asked seldom")) {}

OriginHealth::OriginHealth(std::string name, int max_places, OriginLimits limits,
                           OriginMetrics& metrics)
    : name_(std::move(name)),
      max_places_(max_places),
      limits_(limits),
      metrics_(metrics),
      breaker_(limits.breaker),
      concurrency_(max_places),
      retries_(limits.retry_share, limits.retry_reserve, 1),
      hedges_(limits.hedge_share, 10, 0) {}

std::optional<Error> OriginHealth::refusal(std::int64_t now_ns) {
  if (limits_.offline)
    return Error{ErrorCode::kUnreachable, name_ + " is not asked: the policy is offline"};
  MutexLock lock(mu_);
  if (breaker_.admit(now_ns)) return std::nullopt;
  metrics_.refusals.add();
  const double wait_s =
      std::max(0.0, static_cast<double>(breaker_.open_until_ns() - now_ns) / kNsPerSecond);
  return Error{ErrorCode::kUnreachable,
               fmt::format("{} does not answer ({}), tried again in {:.0f} s", name_, last_error_,
                           std::ceil(wait_s))};
}

void OriginHealth::close_breaker() {
  if (breaker_.state() != CircuitBreaker::State::kClosed) {
    log_info("{} answers again", name_);
    metrics_.unreachable.add(-1);
  }
  breaker_.answered();
}

void OriginHealth::answered(int status, std::int64_t sent_ns, std::int64_t now_ns, bool measured) {
  MutexLock lock(mu_);
  if (asks_for_less(status)) {
    metrics_.slowdowns.add();
    concurrency_.slowed(sent_ns, now_ns);
    return close_breaker();
  }
  if (shows_outage(status)) {
    last_error_ = fmt::format("HTTP {}", status);
    if (breaker_.failed(now_ns)) {
      metrics_.unreachable.add(1);
      log_warning("{} fails all requests with {}: it is asked seldom until it works again", name_,
                  last_error_);
    }
    return;
  }
  close_breaker();
  if (status >= 500) return;
  concurrency_.answered();
  if (!measured) return;
  latency_.record_ns(now_ns - sent_ns);
  hedges_.earn();
}

void OriginHealth::failed(const Error& error, bool had_answer, std::int64_t sent_ns,
                          std::int64_t now_ns) {
  MutexLock lock(mu_);
  if (error.code == ErrorCode::kTimedOut) concurrency_.slowed(sent_ns, now_ns);
  if (had_answer) return;
  if (!is_transient(error.code)) return breaker_.abandoned();
  last_error_ = error.context;
  if (breaker_.failed(now_ns)) {
    metrics_.unreachable.add(1);
    log_warning("{} does not answer: it is asked seldom until it does ({})", name_, last_error_);
  }
}

int OriginHealth::places() const {
  MutexLock lock(mu_);
  return concurrency_.limit();
}

void OriginHealth::succeeded(int retries) {
  MutexLock lock(mu_);
  retries_.earn();
  retries_.give_back(retries);
}

std::optional<std::int64_t> OriginHealth::retry_delay_ms(int failures, HttpFailure& failure,
                                                         std::int64_t since_ns,
                                                         std::int64_t now_ns) {
  if (!failure.retryable) return std::nullopt;
  const auto delay_ms = limits_.retry.delay_ms(failures, (now_ns - since_ns) / 1'000'000,
                                               failure.retry_after_s, random_number());
  if (!delay_ms) return std::nullopt;
  MutexLock lock(mu_);
  if (!retries_.take(now_ns)) {
    metrics_.unretried.add();
    failure.error.context += "; not tried again, because too many requests to this server fail";
    return std::nullopt;
  }
  metrics_.retries.add();
  return delay_ms;
}

void OriginHealth::gave_up(const HttpFailure& failure) {
  if (!failure.unsent && is_transient(failure.error.code)) metrics_.errors.add();
}

std::optional<std::int64_t> OriginHealth::hedge_delay_ms() const {
  if (limits_.hedge_share <= 0) return std::nullopt;
  MutexLock lock(mu_);
  const auto p95_ns = latency_.quantile_ns(0.95);
  if (!p95_ns) return std::nullopt;
  return std::max(limits_.hedge_floor_ms, *p95_ns / 1'000'000 + 1);
}

bool OriginHealth::may_hedge(std::int64_t now_ns) {
  MutexLock lock(mu_);
  if (!hedges_.take(now_ns)) return false;
  metrics_.hedges.add();
  return true;
}

OriginHealth::Status OriginHealth::status() const {
  MutexLock lock(mu_);
  const auto seconds = [](std::optional<std::int64_t> ns) {
    return static_cast<double>(ns.value_or(0)) / kNsPerSecond;
  };
  Status status{.name = name_,
                .breaker = breaker_.state(),
                .places = concurrency_.limit(),
                .max_places = max_places_,
                .p50_s = seconds(latency_.quantile_ns(0.5)),
                .p95_s = seconds(latency_.quantile_ns(0.95))};
  if (status.breaker != CircuitBreaker::State::kClosed) status.last_error = last_error_;
  return status;
}

}  // namespace rangecache::fetcher
