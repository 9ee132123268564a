#include "base/metrics.h"

#include <fmt/format.h>

#include <bit>

namespace rangecache {

void Histogram::record_ns(std::int64_t ns) {
  const std::uint64_t us = ns > 0 ? static_cast<std::uint64_t>(ns) / 1000 : 0;
  const int bucket = std::min<int>(std::bit_width(us), kBuckets - 1);
  buckets_[bucket].fetch_add(1, std::memory_order_relaxed);
  count_.fetch_add(1, std::memory_order_relaxed);
  sum_ns_.fetch_add(ns > 0 ? ns : 0, std::memory_order_relaxed);
}

double Histogram::bound_s(int i) { return static_cast<double>(std::uint64_t{1} << i) * 1e-6; }

double Histogram::quantile_s(double q) const {
  const auto wanted = static_cast<std::uint64_t>(q * static_cast<double>(count()));
  std::uint64_t seen = 0;
  for (int i = 0; i < kBuckets; ++i) {
    seen += bucket(i);
    if (seen > wanted) return bound_s(i);
  }
  return count() ? bound_s(kBuckets - 1) : 0;
}

Counter& Metrics::counter(const std::string& name, const std::string& help) {
  MutexLock lock(mu_);
  Entry& entry = entries_[name];
  if (!entry.counter) entry = {help, std::make_unique<Counter>(), nullptr, nullptr};
  return *entry.counter;
}

Gauge& Metrics::gauge(const std::string& name, const std::string& help) {
  MutexLock lock(mu_);
  Entry& entry = entries_[name];
  if (!entry.gauge) entry = {help, nullptr, std::make_unique<Gauge>(), nullptr};
  return *entry.gauge;
}

Histogram& Metrics::histogram(const std::string& name, const std::string& help) {
  MutexLock lock(mu_);
  Entry& entry = entries_[name];
  if (!entry.histogram) entry = {help, nullptr, nullptr, std::make_unique<Histogram>()};
  return *entry.histogram;
}

std::vector<Metrics::Sample> Metrics::samples() const {
  MutexLock lock(mu_);
  std::vector<Sample> samples;
  for (const auto& [name, entry] : entries_) {
    if (entry.counter) samples.push_back({name, static_cast<double>(entry.counter->value())});
    if (entry.gauge) samples.push_back({name, static_cast<double>(entry.gauge->value())});
    if (entry.histogram) {
      samples.push_back({name + "_count", static_cast<double>(entry.histogram->count())});
      samples.push_back({name + "_sum", entry.histogram->sum_s()});
      samples.push_back({name + "_p50", entry.histogram->quantile_s(0.50)});
      samples.push_back({name + "_p95", entry.histogram->quantile_s(0.95)});
      samples.push_back({name + "_p99", entry.histogram->quantile_s(0.99)});
    }
  }
  return samples;
}

std::string Metrics::prometheus_text() const {
  MutexLock lock(mu_);
  std::string text;
  auto out = std::back_inserter(text);
  for (const auto& [name, entry] : entries_) {
    fmt::format_to(out, "# HELP {} {}\n", name, entry.help);
    if (entry.counter) {
      fmt::format_to(out, "# TYPE {0} counter\n{0} {1}\n", name, entry.counter->value());
    } else if (entry.gauge) {
      fmt::format_to(out, "# TYPE {0} gauge\n{0} {1}\n", name, entry.gauge->value());
    } else {
      fmt::format_to(out, "# TYPE {} histogram\n", name);
      std::uint64_t seen = 0;
      for (int i = 0; i < Histogram::kBuckets; ++i) {
        seen += entry.histogram->bucket(i);
        fmt::format_to(out, "{}_bucket{{le=\"{:g}\"}} {}\n", name, Histogram::bound_s(i), seen);
      }
      fmt::format_to(out, "{0}_bucket{{le=\"+Inf\"}} {1}\n{0}_sum {2:g}\n{0}_count {1}\n", name,
                     entry.histogram->count(), entry.histogram->sum_s());
    }
  }
  return text;
}

}  // namespace rangecache
