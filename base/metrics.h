#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"

namespace rangecache {

/// A number that only grows. Lock-free.
class Counter {
 public:
  void add(std::uint64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// A number that goes up and down. Lock-free.
class Gauge {
 public:
  void add(std::int64_t n) { value_.fetch_add(n, std::memory_order_relaxed); }
  void set(std::int64_t n) { value_.store(n, std::memory_order_relaxed); }
  std::int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::int64_t> value_{0};
};

/// Durations in buckets that double from 1 µs; quantiles are read as a bucket's upper bound.
class Histogram {
 public:
  static constexpr int kBuckets = 36;
  void record_ns(std::int64_t ns);
  std::uint64_t count() const { return count_.load(std::memory_order_relaxed); }
  double sum_s() const { return static_cast<double>(sum_ns_.load()) * 1e-9; }
  std::uint64_t bucket(int i) const { return buckets_[i].load(std::memory_order_relaxed); }
  /// Upper bound of bucket `i`, in seconds.
  static double bound_s(int i);
  /// The bound under which the share `q` (0..1) of the durations lies, in seconds; 0 if none.
  double quantile_s(double q) const;

 private:
  std::array<std::atomic<std::uint64_t>, kBuckets> buckets_{};
  std::atomic<std::uint64_t> count_{0};
  std::atomic<std::uint64_t> sum_ns_{0};
};

/// The daemon's numbers, by Prometheus name. A part asks for its numbers once, when it is made,
/// and keeps the references: they live as long as the registry. Thread-safe.
class Metrics {
 public:
  Counter& counter(const std::string& name, const std::string& help);
  Gauge& gauge(const std::string& name, const std::string& help);
  Histogram& histogram(const std::string& name, const std::string& help);

  struct Sample {
    std::string name;
    double value;
  };
  /// Every number (a histogram as _count, _sum and _p50/_p95/_p99), sorted by name.
  std::vector<Sample> samples() const;
  /// The Prometheus text exposition format, version 0.0.4.
  std::string prometheus_text() const;

 private:
  struct Entry {
    std::string help;
    std::unique_ptr<Counter> counter;
    std::unique_ptr<Gauge> gauge;
    std::unique_ptr<Histogram> histogram;
  };
  mutable Mutex mu_;
  std::map<std::string, Entry> entries_ GUARDED_BY(mu_);
};

}  // namespace rangecache
