#include "daemon/api_service.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "daemon/reader.h"
#include "rangecache/version.h"

namespace rangecache::daemon {
namespace {

ObjectInfo info_of(const cache::Version& version) {
  return {.url = version.url(),
          .size = version.size(),
          .is_directory = false,
          .validator = version.validator().value,
          .modified_s = version.modified_s(),
          .cached_bytes = version.cached_bytes()};
}

class ApiFile final : public OpenFile {
 public:
  ApiFile(cache::SnapshotPtr pinned, ObjectInfo object, cache::Cache& cache)
      : reader(std::move(pinned), cache), info_(std::move(object)) {}
  const ObjectInfo& info() const override { return info_; }

  Reader reader;

 private:
  const ObjectInfo info_;
};

ObjectInfo info_of(const cache::Snapshot& snapshot) {
  if (const auto version = snapshot.version()) return info_of(*version);
  return {.url = snapshot.address().origin->url_of(snapshot.address().key),
          .size = snapshot.size(),
          .is_directory = false,
          .validator = {},
          .modified_s = snapshot.modified_s(),
          .cached_bytes = 0};
}

bool begins_with(const std::string& text, const std::string& prefix) {
  return text.compare(0, prefix.size(), prefix) == 0;
}

}  // namespace

ApiService::ApiService(Parts parts)
    : parts_(std::move(parts)), started_s_(system_clock().unix_s()) {}

void ApiService::open(std::string url, Callback<std::shared_ptr<OpenFile>> done) {
  auto address = parts_.origins.resolve(url);
  if (!address) return done(address.error());
  parts_.cache.catalog().open(*address, [&cache = parts_.cache, done = std::move(done)](
                                            Result<cache::SnapshotPtr> snapshot) mutable {
    if (!snapshot) return done(snapshot.error());
    done(std::shared_ptr<OpenFile>(
        std::make_shared<ApiFile>(*snapshot, info_of(**snapshot), cache)));
  });
}

ReadTicket ApiService::read(const std::shared_ptr<OpenFile>& file, ByteRange range,
                            Callback<Slices> done) {
  return static_cast<ApiFile&>(*file).reader.read(range, std::move(done));
}

Service::Lendable ApiService::lendable(const std::shared_ptr<OpenFile>& file, std::uint64_t offset,
                                       std::size_t limit) {
  const cache::VersionPtr version = static_cast<ApiFile&>(*file).reader.snapshot()->version();
  if (!version) return {};
  auto parts = version->file_parts(offset, limit);
  if (parts.empty()) return {};
  Lendable lendable{.offset = parts.front().range.begin, .slices = {}};
  for (auto& part : parts) lendable.slices.push_back(std::move(part.slice));
  return lendable;
}

void ApiService::stat(std::string url, Callback<ObjectInfo> done) {
  auto address = parts_.origins.resolve(url);
  if (!address) return done(address.error());
  if (address->key.empty() || address->key.back() == '/') {
    return parts_.cache.catalog().open_directory(
        *address, [url, done = std::move(done)](Result<cache::ListingPagesPtr> pages) mutable {
          if (!pages) return done(pages.error());
          ObjectInfo info;
          info.url = url;
          info.is_directory = true;
          done(std::move(info));
        });
  }
  parts_.cache.catalog().open(*address, [this, url, address = *address, done = std::move(done)](
                                            Result<cache::SnapshotPtr> snapshot) mutable {
    if (snapshot) return done(info_of(**snapshot));
    ObjectInfo info;
    info.url = url;
    info.is_directory = true;
    if (snapshot.error().code == ErrorCode::kIsDirectory) return done(std::move(info));
    if (snapshot.error().code != ErrorCode::kNotFound) return done(snapshot.error());
    // In a bucket no object need have the name of a directory.
    parts_.cache.catalog().open_directory({address.origin, address.key + "/"},
                                          [info, error = snapshot.error(), done = std::move(done)](
                                              Result<cache::ListingPagesPtr> pages) mutable {
                                            if (!pages) return done(std::move(error));
                                            done(std::move(info));
                                          });
  });
}

void ApiService::list(std::string url, Callback<std::vector<ListEntry>> done) {
  if (url.empty() || url.back() != '/') url += '/';
  auto address = parts_.origins.resolve(url);
  if (!address) return done(address.error());
  parts_.cache.catalog().list(*address,
                              [done = std::move(done)](Result<cache::ListingPtr> listing) mutable {
                                if (!listing) return done(listing.error());
                                done((*listing)->entries);
                              });
}

namespace {

const char* to_string(fetcher::CircuitBreaker::State state) {
  switch (state) {
    case fetcher::CircuitBreaker::State::kClosed:
      return "answers";
    case fetcher::CircuitBreaker::State::kOpen:
      return "unreachable";
    case fetcher::CircuitBreaker::State::kHalfOpen:
      return "being tried";
  }
  return "";
}

}  // namespace

std::string ApiService::stats_json() {
  nlohmann::json json;
  json["version"] = RANGECACHE_VERSION;
  json["pid"] = getpid();
  json["uptime_s"] = system_clock().unix_s() - started_s_;
  json["cache_dir"] = parts_.cache.options().directory;
  json["freshness"] = cache::to_string(parts_.cache.options().freshness.otherwise());
  json["mounts"] = nlohmann::json::array();
  for (const auto& [info, usage] : parts_.mounts.status())
    json["mounts"].push_back({{"url", info.url},
                              {"mountpoint", info.mountpoint},
                              {"open_handles", usage.handles},
                              {"passthrough", usage.passthrough},
                              {"passthrough_files", usage.backed}});
  json["quotas"] = nlohmann::json::array();
  for (const auto& quota : parts_.cache.quotas())
    json["quotas"].push_back(
        {{"prefix", quota.prefix}, {"used", quota.used}, {"limit", quota.limit}});
  json["origins"] = nlohmann::json::array();
  for (const auto& origin : parts_.origins.status())
    json["origins"].push_back({{"name", origin.name},
                               {"state", to_string(origin.breaker)},
                               {"error", origin.last_error},
                               {"places", origin.places},
                               {"max_places", origin.max_places},
                               {"p50_s", origin.p50_s},
                               {"p95_s", origin.p95_s}});
  nlohmann::json& metrics = json["metrics"] = nlohmann::json::object();
  for (const Metrics::Sample& sample : parts_.metrics.samples())
    metrics[sample.name] = sample.value;
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string ApiService::prometheus_text() { return parts_.metrics.prometheus_text(); }

void ApiService::cached_objects(std::string url_prefix, Callback<std::vector<CachedObject>> done) {
  std::vector<CachedObject> objects;
  const std::int64_t now = system_clock().unix_s();
  for (const cache::VersionPtr& version : parts_.cache.catalog().versions()) {
    if (version->cached_bytes() == 0 || !begins_with(version->url(), url_prefix)) continue;
    const auto heard = version->heard();
    objects.push_back({.info = info_of(*version),
                       .chunks = version->chunks().size(),
                       .age_s = std::max<std::int64_t>(0, now - heard.validated_s),
                       .current = heard.current,
                       .passthrough = version->passthrough_opens() > 0,
                       .fresh_for_s = heard.fresh_until_s - now});
  }
  std::sort(objects.begin(), objects.end(),
            [](const CachedObject& a, const CachedObject& b) { return a.info.url < b.info.url; });
  done(std::move(objects));
}

void ApiService::map(std::string url, Callback<ObjectMap> done) {
  auto address = parts_.origins.resolve(url);
  if (!address) return done(address.error());
  const cache::VersionPtr version = parts_.cache.catalog().current(*address);
  if (!version) {
    return done(Error(ErrorCode::kNotFound, address->origin->url_of(address->key) +
                                                ": nothing of it is cached; cachectl ls lists "
                                                "what is"));
  }
  ObjectMap map{info_of(*version), {}, version->flight_ranges()};
  for (const cache::ChunkPtr& chunk : version->chunks()) map.chunks.push_back(chunk->range);
  done(std::move(map));
}

RefreshResult ApiService::refresh(const std::string& url_prefix) {
  const auto refreshed = parts_.cache.catalog().refresh(url_prefix);
  parts_.mounts.invalidate_below(url_prefix);
  return {refreshed.objects, refreshed.listings};
}

void ApiService::evict(std::string url_prefix, Callback<EvictResult> done) {
  parts_.cache.evict(
      [&](const cache::Version& version) { return begins_with(version.url(), url_prefix); },
      [done = std::move(done)](cache::Cache::Evicted evicted) mutable {
        done(EvictResult{evicted.objects, evicted.chunks, evicted.bytes});
      });
}

Result<void> ApiService::pin(std::string url_prefix, std::string owner, std::int64_t expires_s) {
  if (url_prefix.find("://") == std::string::npos)
    return Error(ErrorCode::kInvalidArgument,
                 "'" + url_prefix + "' is no URL: pin what cachectl ls names");
  if (expires_s != 0 && expires_s <= system_clock().unix_s())
    return Error(ErrorCode::kInvalidArgument, "the pin would have expired already");
  return parts_.cache.pins().add(std::move(url_prefix), std::move(owner), expires_s);
}

Result<std::uint64_t> ApiService::unpin(const std::string& url_prefix, const std::string& owner) {
  return parts_.cache.pins().remove(url_prefix, owner);
}

std::vector<PinInfo> ApiService::pins() {
  std::vector<PinInfo> pins = parts_.cache.pins().list();
  if (pins.empty()) return pins;
  for (const cache::VersionPtr& version : parts_.cache.catalog().versions()) {
    const std::uint64_t bytes = version->cached_bytes();
    if (bytes == 0) continue;
    const std::string url = version->url();
    for (PinInfo& pin : pins) pin.cached_bytes += begins_with(url, pin.prefix) ? bytes : 0;
  }
  return pins;
}

void ApiService::verify(std::string url_prefix, bool repair, std::string cursor,
                        Callback<VerifyPart> done) {
  parts_.cache.scrubber().verify(
      [url_prefix](const cache::Version& version) {
        return begins_with(version.url(), url_prefix);
      },
      repair, std::move(cursor), std::move(done));
}

void ApiService::mount(std::string url, std::string mountpoint, Callback<MountInfo> done) {
  auto address = parts_.origins.resolve(url);
  if (!address) return done(address.error());
  find_mount_source(parts_.cache.catalog(), *address,
                    [this, mountpoint = std::move(mountpoint),
                     done = std::move(done)](Result<MountSource> source) mutable {
                      if (!source) return done(source.error());
                      parts_.mounts.mount(*std::move(source), std::move(mountpoint),
                                          std::move(done));
                    });
}

void ApiService::unmount(std::string mountpoint, Callback<MountInfo> done) {
  parts_.mounts.unmount(std::move(mountpoint), std::move(done));
}

void ApiService::shutdown() { parts_.shutdown(); }

}  // namespace rangecache::daemon
