// Replays a trace of requests against the cache's eviction policies and prints what each would have
// kept. The policies are those of the daemon, behind the same interface.
//
//   replay trace.csv            time,object,size   or   time,object,offset,length; "-": stdin
//   replay --zipf 0.9           a made-up trace: Zipf requests, broken by scans

#include <fmt/format.h>
#include <xxhash.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <fstream>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "cache/admission.h"
#include "cache/eviction.h"

namespace rangecache::cache {
namespace {

/// A part of an object, as the cache holds it.
struct Request {
  std::uint64_t key;    ///< of object and part
  std::uint32_t bytes;  ///< of the part
};

struct Trace {
  std::vector<Request> requests;
  std::uint64_t footprint = 0;  ///< bytes of all different parts
};

class TraceBuilder {
 public:
  explicit TraceBuilder(std::uint64_t part_size) : part_size_(part_size) {}

  void add(std::uint64_t object, std::uint64_t offset, std::uint64_t length) {
    const std::uint64_t end = offset + length;
    for (std::uint64_t part = offset / part_size_; part * part_size_ < end; ++part) {
      const std::uint64_t bytes = std::min(part_size_, end - part * part_size_);
      const std::uint64_t key = object ^ ((part + 1) * 0x9e3779b97f4a7c15ULL);
      trace_.requests.push_back({key, static_cast<std::uint32_t>(bytes)});
      auto& known = sizes_[key];
      trace_.footprint += bytes > known ? bytes - known : 0;
      known = std::max<std::uint64_t>(known, bytes);
    }
  }
  Trace take() { return std::move(trace_); }

 private:
  const std::uint64_t part_size_;
  std::unordered_map<std::uint64_t, std::uint64_t> sizes_;
  Trace trace_;
};

bool number(std::string_view text, std::uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

/// False, and the line is named, when it is neither a header nor a request.
bool read_csv(std::istream& in, TraceBuilder& trace) {
  std::string line;
  for (std::uint64_t n = 1; std::getline(in, line); ++n) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || line[0] == '#') continue;
    std::vector<std::string_view> fields;
    for (std::size_t at = 0; at <= line.size();) {
      const std::size_t comma = std::min(line.find(',', at), line.size());
      fields.push_back(std::string_view(line).substr(at, comma - at));
      at = comma + 1;
    }
    std::uint64_t offset = 0, length = 0;
    const bool right =
        (fields.size() == 3 && number(fields[2], length)) ||
        (fields.size() == 4 && number(fields[2], offset) && number(fields[3], length));
    if (!right) {
      if (n == 1) continue;  // a header
      fmt::print(stderr,
                 "replay: line {} is neither time,object,size nor time,object,offset,length: {}\n",
                 n, line);
      return false;
    }
    trace.add(XXH3_64bits(fields[1].data(), fields[1].size()), offset, length);
  }
  return true;
}

struct Synthetic {
  double alpha = 0;  ///< of Zipf's law; 0: no made-up trace
  std::uint64_t objects = 20'000, requests = 1'000'000, scan_every = 20'000, scan_length = 10'000;
  std::uint32_t seed = 1;
};

void generate(const Synthetic& wanted, std::uint64_t part_size, TraceBuilder& trace) {
  std::vector<double> sums(wanted.objects);
  double sum = 0;
  for (std::uint64_t i = 0; i < wanted.objects; ++i)
    sums[i] = sum += 1 / std::pow(static_cast<double>(i + 1), wanted.alpha);
  std::mt19937_64 random(wanted.seed);
  std::uniform_real_distribution<double> any(0, sum);
  std::uint64_t scanned = wanted.objects;
  for (std::uint64_t i = 0; i < wanted.requests; ++i) {
    if (wanted.scan_every > 0 && i % wanted.scan_every == wanted.scan_every - 1) {
      for (std::uint64_t s = 0; s < wanted.scan_length; ++s)
        trace.add(++scanned * 0xd6e8feb86659fd93ULL, 0, part_size);
    }
    const auto rank = std::lower_bound(sums.begin(), sums.end(), any(random)) - sums.begin();
    trace.add(static_cast<std::uint64_t>(rank + 1) * 0xd6e8feb86659fd93ULL, 0, part_size);
  }
}

struct Entry final : EvictionHook {
  std::uint64_t key = 0;
};

struct Outcome {
  double object_hits = 0, byte_hits = 0, written = 0;  ///< shares
  std::uint64_t evictions = 0;
  double per_second = 0;
};

Outcome replay(const Trace& trace, EvictionPolicy& policy, Admission* admission,
               std::uint64_t size) {
  std::unordered_map<std::uint64_t, std::unique_ptr<Entry>> cached;
  std::uint64_t hits = 0, hit_bytes = 0, bytes = 0, written = 0;
  Outcome outcome;
  const auto start = std::chrono::steady_clock::now();
  for (const Request& request : trace.requests) {
    bytes += request.bytes;
    if (const auto found = cached.find(request.key); found != cached.end()) {
      ++hits;
      hit_bytes += request.bytes;
      policy.touched(*found->second);
      continue;
    }
    if (admission && !admission->admit(request.key)) continue;
    const std::uint32_t pages =
        (request.bytes + EvictionHook::kPageSize - 1) / EvictionHook::kPageSize;
    while (policy.bytes() + pages * EvictionHook::kPageSize > size) {
      EvictionHook* victim = policy.victim();
      if (!victim) break;
      policy.remove(*victim);
      ++outcome.evictions;
      cached.erase(static_cast<Entry*>(victim)->key);
    }
    auto entry = std::make_unique<Entry>();
    entry->key = request.key;
    entry->pages = pages;
    entry->ghost_key = static_cast<std::uint32_t>(request.key >> 32);
    policy.insert(*entry);
    cached.emplace(request.key, std::move(entry));
    written += request.bytes;
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const auto all = static_cast<double>(trace.requests.size());
  outcome.object_hits = static_cast<double>(hits) / all;
  outcome.byte_hits = static_cast<double>(hit_bytes) / static_cast<double>(bytes);
  outcome.written = static_cast<double>(written) / static_cast<double>(bytes);
  outcome.per_second = all / took.count();
  return outcome;
}

int run(const std::string& file, const Synthetic& synthetic, std::uint64_t part_size,
        const std::vector<double>& sizes) {
  TraceBuilder builder(part_size);
  if (synthetic.alpha > 0) {
    generate(synthetic, part_size, builder);
  } else if (file == "-") {
    if (!read_csv(std::cin, builder)) return 1;
  } else {
    std::ifstream in(file);
    if (!in) {
      fmt::print(stderr, "replay: {} cannot be read\n", file);
      return 1;
    }
    if (!read_csv(in, builder)) return 1;
  }
  const Trace trace = builder.take();
  if (trace.requests.empty()) {
    fmt::print(stderr, "replay: the trace has no request\n");
    return 1;
  }
  fmt::print("{} requests for {:.1f} MiB of different parts of at most {} KiB\n\n",
             trace.requests.size(), static_cast<double>(trace.footprint) / (1 << 20),
             part_size / 1024);
  fmt::print("{:>6}  {:<18} {:>11} {:>9} {:>9} {:>10} {:>9}\n", "size", "policy", "object hits",
             "byte hits", "written", "evictions", "M req/s");
  for (const double share : sizes) {
    const auto size =
        static_cast<std::uint64_t>(share / 100 * static_cast<double>(trace.footprint));
    for (const char* name : {"s3fifo", "lru", "s3fifo+second-use"}) {
      const auto policy = std::string_view(name) == "lru" ? make_lru() : make_s3_fifo(size);
      const auto admission =
          std::string_view(name) == "s3fifo+second-use" ? std::make_unique<Admission>() : nullptr;
      const Outcome outcome = replay(trace, *policy, admission.get(), size);
      fmt::print("{:>5}%  {:<18} {:>10.2f}% {:>8.2f}% {:>8.2f}% {:>10} {:>9.2f}\n", share, name,
                 100 * outcome.object_hits, 100 * outcome.byte_hits, 100 * outcome.written,
                 outcome.evictions, outcome.per_second / 1e6);
    }
  }
  return 0;
}

}  // namespace
}  // namespace rangecache::cache

int main(int argc, char** argv) {
  CLI::App app{"Replays a trace of requests against the eviction policies."};
  std::string file;
  rangecache::cache::Synthetic synthetic;
  std::uint64_t part_kib = 1024;
  std::vector<double> sizes{1, 5, 10, 20};
  auto* input = app.add_option("trace", file, "CSV: time,object,size or time,object,offset,length");
  auto* zipf = app.add_option("--zipf", synthetic.alpha, "Make a trace up: the alpha of Zipf's law")
                   ->check(CLI::PositiveNumber);
  input->excludes(zipf);
  app.add_option("--objects", synthetic.objects)->capture_default_str();
  app.add_option("--requests", synthetic.requests)->capture_default_str();
  app.add_option("--scan-every", synthetic.scan_every, "Requests between scans; 0: none")
      ->capture_default_str();
  app.add_option("--scan-length", synthetic.scan_length, "Objects that one scan reads, once")
      ->capture_default_str();
  app.add_option("--seed", synthetic.seed)->capture_default_str();
  app.add_option("--part", part_kib, "Objects are cached in parts of so many KiB")
      ->check(CLI::Range(4, 1 << 20))
      ->capture_default_str();
  app.add_option("--sizes", sizes, "Cache sizes, in % of the bytes that the trace asks for")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (file.empty() && synthetic.alpha <= 0) {
    fmt::print(stderr, "replay: give a trace, or --zipf\n");
    return 2;
  }
  return rangecache::cache::run(file, synthetic, part_kib * 1024, sizes);
}
