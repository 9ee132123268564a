#include "daemon/daemon.h"

#include <filesystem>
#include <future>
#include <utility>

#include "base/log.h"
#include "daemon/mount_source.h"

namespace rangecache::daemon {
namespace {

/// Waits for a callback: only for the main thread, before and after the daemon runs.
template <typename T, typename Start>
Result<T> wait_for(Start start) {
  auto promise = std::make_shared<std::promise<Result<T>>>();
  auto future = promise->get_future();
  start([promise](Result<T> result) { promise->set_value(std::move(result)); });
  return future.get();
}

}  // namespace

Result<std::unique_ptr<Daemon>> Daemon::start(const Config& config,
                                              std::function<void()> begin_stop) {
  std::unique_ptr<Daemon> daemon(new Daemon);
  fetcher::OriginsOptions origins;
  origins.each = config.each_origin;
  for (const OriginTable& table : config.origins) origins.by_url[table.url] = table.options;
  daemon->origins_ = std::make_unique<fetcher::Origins>(std::move(origins), daemon->metrics_);
  const auto find_origin =
      [&origins = *daemon->origins_](const std::string& id) -> Result<std::shared_ptr<Origin>> {
    auto address = origins.resolve(id + "/");
    if (!address) return address.error();
    return address->origin;
  };
  RC_ASSIGN(daemon->cache_, cache::Cache::open(config.cache, find_origin, posix_file_system(),
                                               system_clock(), daemon->metrics_));
  // A daemon that was started for a mount ends with it, as other FUSE programs do.
  Mounts::Options mount_options;
  mount_options.allow_other = config.allow_other;
  mount_options.passthrough = config.passthrough;
  if (!config.mountpoint.empty()) mount_options.all_gone = begin_stop;
  daemon->mounts_ = std::make_unique<Mounts>(*daemon->cache_, std::move(mount_options));
  daemon->cache_->catalog().on_changed(
      [&mounts = *daemon->mounts_](const ObjectAddress& address) { mounts.invalidate(address); });
  daemon->service_ = std::make_unique<ApiService>(ApiService::Parts{
      *daemon->cache_, *daemon->origins_, *daemon->mounts_, daemon->metrics_, begin_stop});
  RC_ASSIGN(daemon->socket_,
            SocketServer::listen(config.socket_path, *daemon->service_, daemon->metrics_, {}));
  RC_TRY(daemon->mount_configured(config));
  log_info("serving at {}, cache {} ({} MiB)", config.socket_path, config.cache.directory,
           config.cache.size_bytes >> 20);
  return daemon;
}

Result<void> Daemon::mount_configured(const Config& config) {
  if (config.mountpoint.empty()) return {};
  if (config.urls_file.empty()) {
    RC_TRY(wait_for<MountInfo>([&](Callback<MountInfo> done) {
      service_->mount(config.url, config.mountpoint, std::move(done));
    }));
    return {};
  }
  RC_ASSIGN(const auto urls, read_url_list(config.urls_file));
  MountSource source;
  source.label = config.urls_file;
  for (const auto& [name, url] : urls) {
    RC_ASSIGN(ObjectAddress address, origins_->resolve(url));
    source.files.emplace_back(name, std::move(address));
  }
  RC_TRY(wait_for<MountInfo>([&](Callback<MountInfo> done) {
    mounts_->mount(std::move(source), config.mountpoint, std::move(done));
  }));
  return {};
}

void Daemon::stop() {
  if (socket_) socket_->stop();
  if (mounts_) mounts_->stop();
  if (origins_) origins_->stop();
  if (cache_) cache_->stop();
}

Daemon::~Daemon() { stop(); }

}  // namespace rangecache::daemon
