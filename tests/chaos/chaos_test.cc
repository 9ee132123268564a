// A whole daemon, its socket and its client library, against an origin that misbehaves at random:
// whatever happens, a read brings right bytes of one version, or an error, in bounded time.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <thread>
#include <vector>

#include "base/log.h"
#include "base/mutex.h"
#include "daemon/daemon.h"
#include "rangecache/client.h"
#include "tests/support/origin_server.h"
#include "tests/support/synthetic.h"

namespace rangecache {
namespace {

using Clock = std::chrono::steady_clock;
namespace fs = std::filesystem;

constexpr std::uint64_t kMiB = 1 << 20;
constexpr int kObjects = 12;
constexpr int kPatience_ms = 400;  // of the daemon with its origin
constexpr auto kBound = std::chrono::seconds(60);

int number_from(const char* variable, int otherwise) {
  const char* text = std::getenv(variable);
  return text ? std::atoi(text) : otherwise;
}

std::size_t open_descriptors() {
  const fs::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

/// Objects that get new versions, and which there have been.
class World {
 public:
  explicit World(test::OriginServer& origin) : origin_(origin) {
    for (int i = 0; i < kObjects; ++i) change(i);
  }
  static std::string path(int object) { return "/object" + std::to_string(object); }
  /// All versions of an object are of one size, so that a mixture would not be noticed by it.
  static std::uint64_t size(int object) { return static_cast<std::uint64_t>(object + 1) * 700'001; }
  void change(int object) {
    MutexLock lock(mu_);
    origin_.put(path(object), size(object), ++versions_[object]);
  }
  std::uint32_t version(int object) const {
    MutexLock lock(mu_);
    return versions_.at(object);
  }
  /// Which version these bytes are of; nullopt: of none.
  std::optional<std::uint32_t> version_of(int object, std::uint64_t offset,
                                          std::span<const std::byte> bytes) const {
    for (std::uint32_t v = version(object); v > 0; --v)
      if (!test::verify_synthetic(path(object), v, offset, bytes)) return v;
    return std::nullopt;
  }

 private:
  test::OriginServer& origin_;
  mutable Mutex mu_;
  std::map<int, std::uint32_t> versions_ GUARDED_BY(mu_);
};

struct Tally {
  std::atomic<std::uint64_t> right{0}, failed{0}, wrong{0}, late{0};
  std::atomic<std::int64_t> slowest_ms{0};

  void took(Clock::time_point since) {
    const auto elapsed = Clock::now() - since;
    if (elapsed > kBound) ++late;
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(elapsed).count();
    std::int64_t most = slowest_ms;
    while (ms > most && !slowest_ms.compare_exchange_weak(most, ms)) {
    }
  }
};

/// Opens an object and reads here and there; every byte must be of one version.
void visit(const Client& client, const std::string& base, World& world, std::mt19937_64& random,
           Tally& tally) {
  const int object = static_cast<int>(random() % kObjects);
  const std::string url = base + World::path(object).substr(1);
  auto began = Clock::now();
  const auto file = client.open(url);
  tally.took(began);
  if (!file) return void(++tally.failed);
  std::optional<std::uint32_t> version;
  std::vector<std::byte> buffer;
  std::uint64_t at = random() % World::size(object);
  for (int reads = 0; reads < 8; ++reads) {
    buffer.resize(1 + random() % (random() % 4 == 0 ? kMiB : 64 * 1024));
    began = Clock::now();
    const auto got = file->read(at, buffer);
    tally.took(began);
    if (!got) {
      ++tally.failed;
      if (got.error().code == ErrorCode::kStale) return;
      continue;
    }
    const auto bytes = std::span(buffer).first(*got);
    const auto found =
        version ? (test::verify_synthetic(World::path(object), *version, at, bytes) ? std::nullopt
                                                                                    : version)
                : world.version_of(object, at, bytes);
    if (!found) {
      ++tally.wrong;
      ADD_FAILURE() << url << " at " << at << ": "
                    << test::verify_synthetic(World::path(object),
                                              version.value_or(world.version(object)), at, bytes)
                           .value_or("of several versions")
                    << ", validator " << file->validator();
      return;
    }
    // A few bytes may be too short to tell one version from the other.
    if (bytes.size() >= 32) version = found;
    ++tally.right;
    at = random() % 3 == 0 ? random() % World::size(object) : at + bytes.size();
    if (at >= World::size(object)) at = 0;
  }
}

double metric(const Client& client, const std::string& name) {
  const auto text = client.stats_json();
  if (!text) return -1;
  return nlohmann::json::parse(*text)["metrics"].value("rangecache_" + name, -1.0);
}

TEST(Chaos, RightBytesOrAnErrorInBoundedTime) {
  const int seconds = number_from("RANGECACHE_CHAOS_S", 5);
  const int readers = number_from("RANGECACHE_CHAOS_READERS", 16);
  const auto seed = static_cast<std::uint64_t>(number_from("RANGECACHE_SEED", 20261123));
  RecordProperty("seed", static_cast<int>(seed));
  set_log_level(LogLevel::kError);
  const fs::path directory =
      fs::temp_directory_path() / fmt::format("rangecache-chaos-{}", ::getpid());
  fs::create_directories(directory);
  const std::size_t descriptors_before = open_descriptors();
  {
    auto started = test::OriginServer::start({});
    ASSERT_TRUE(started) << started.error().message();
    test::OriginServer& origin = **started;
    World world(origin);

    daemon::Config config;
    config.cache.directory = directory / "cache";
    config.cache.size_bytes = 32 * kMiB;  // less than there is: eviction is part of it
    config.cache.memory_bytes = 64 * kMiB;
    config.cache.freshness = cache::FreshnessPolicy{.kind = cache::FreshnessPolicy::Kind::kAlways};
    config.cache.merge_settle_time = std::chrono::milliseconds(50);
    config.socket_path = directory / "socket";
    config.each_origin.connection.connect_timeout_ms =
        config.each_origin.connection.first_byte_timeout_ms =
            config.each_origin.connection.stall_timeout_ms = kPatience_ms;
    config.each_origin.limits.retry.retry_after_cap_ms = 1'000;
    config.each_origin.limits.retry.deadline_ms = 5'000;
    config.each_origin.limits.hedge_floor_ms = 20;
    auto daemon = daemon::Daemon::start(config, [] {});
    ASSERT_TRUE(daemon) << daemon.error().message();

    Tally tally;
    std::atomic<bool> over{false};
    origin.spoil(/*one_in=*/10, kPatience_ms, seed);
    {
      std::vector<Client> clients;
      for (int i = 0; i < readers / 8 + 1; ++i) {
        auto client = Client::connect({.socket_path = config.socket_path});
        ASSERT_TRUE(client) << client.error().message();
        clients.push_back(*std::move(client));
      }
      std::vector<std::thread> threads;
      for (int i = 0; i < readers; ++i) {
        threads.emplace_back([&, i] {
          std::mt19937_64 random(seed + static_cast<std::uint64_t>(i));
          const Client& client = clients[static_cast<std::size_t>(i) % clients.size()];
          while (!over) visit(client, origin.url(), world, random, tally);
        });
      }
      std::mt19937_64 random(seed);
      const auto end = Clock::now() + std::chrono::seconds(seconds);
      while (Clock::now() < end) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));  // the pace of changes
        world.change(static_cast<int>(random() % kObjects));
      }
      over = true;
      for (std::thread& thread : threads) thread.join();

      // It heals with its origin: every object, whole and in its last version.
      origin.spoil(0, 0, 0);
      for (int object = 0; object < kObjects; ++object) {
        const std::string path = World::path(object), url = origin.url() + path.substr(1);
        std::vector<std::byte> all(World::size(object));
        std::optional<std::string> wrong = "never read";
        const auto patience = Clock::now() + kBound;
        while (wrong && Clock::now() < patience) {
          const auto file = clients[0].open(url);
          const auto got = file ? file->read(0, all) : Result<std::size_t>(file.error());
          wrong = got ? test::verify_synthetic(path, world.version(object), 0, all)
                      : got.error().message();
        }
        EXPECT_EQ(wrong, std::nullopt) << url;
      }
      const auto patience = Clock::now() + kBound;
      for (const char* name : {"flights", "origin_transfers", "memory_bytes"}) {
        while (metric(clients[0], name) != 0 && Clock::now() < patience) std::this_thread::yield();
        EXPECT_EQ(metric(clients[0], name), 0) << name;
      }
      fmt::print(
          "{} reads right, {} failed, slowest {} ms; {:.0f} requests, {:.0f} retries, {:.0f} "
          "hedges "
          "({:.0f} won), {:.0f} slow-downs, {:.0f} refused\n",
          tally.right, tally.failed, tally.slowest_ms, metric(clients[0], "origin_requests_total"),
          metric(clients[0], "origin_retries_total"), metric(clients[0], "origin_hedges_total"),
          metric(clients[0], "origin_hedges_won_total"),
          metric(clients[0], "origin_slowdowns_total"), metric(clients[0], "origin_refused_total"));
    }
    EXPECT_EQ(tally.wrong, 0u);
    EXPECT_EQ(tally.late, 0u) << "slowest: " << tally.slowest_ms << " ms";
    // It must have been a fight, and it must have been worth it.
    EXPECT_GT(tally.failed, 0u);
    EXPECT_GT(tally.right, tally.failed);
  }
  EXPECT_EQ(open_descriptors(), descriptors_before);
  fs::remove_all(directory);
}

}  // namespace
}  // namespace rangecache
