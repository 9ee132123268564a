#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/metrics.h"
#include "cache/cache.h"
#include "daemon/mounts.h"
#include "daemon/service.h"
#include "fetcher/origins.h"

namespace rangecache::daemon {

/// The socket API's requests, answered by the cache and the mounts.
class ApiService final : public Service {
 public:
  struct Parts {
    cache::Cache& cache;
    fetcher::Origins& origins;
    Mounts& mounts;
    Metrics& metrics;
    std::function<void()> shutdown;  ///< begins the daemon's orderly stop
  };
  explicit ApiService(Parts parts);

  void open(std::string url, Callback<std::shared_ptr<OpenFile>> done) override;
  void stat(std::string url, Callback<ObjectInfo> done) override;
  void list(std::string url, Callback<std::vector<ListEntry>> done) override;
  ReadTicket read(const std::shared_ptr<OpenFile>& file, ByteRange range,
                  Callback<Slices> done) override;
  Lendable lendable(const std::shared_ptr<OpenFile>& file, std::uint64_t offset,
                    std::size_t limit) override;
  std::string stats_json() override;
  std::string prometheus_text() override;
  void cached_objects(std::string url_prefix, Callback<std::vector<CachedObject>> done) override;
  void map(std::string url, Callback<ObjectMap> done) override;
  void evict(std::string url_prefix, Callback<EvictResult> done) override;
  RefreshResult refresh(const std::string& url_prefix) override;
  Result<void> pin(std::string url_prefix, std::string owner, std::int64_t expires_s) override;
  Result<std::uint64_t> unpin(const std::string& url_prefix, const std::string& owner) override;
  std::vector<PinInfo> pins() override;
  void verify(std::string url_prefix, bool repair, std::string cursor,
              Callback<VerifyPart> done) override;
  void mount(std::string url, std::string mountpoint, Callback<MountInfo> done) override;
  void unmount(std::string mountpoint, Callback<MountInfo> done) override;
  void shutdown() override;

 private:
  Parts parts_;
  const std::int64_t started_s_;
};

}  // namespace rangecache::daemon
