#pragma once

#include <functional>
#include <memory>

#include "base/metrics.h"
#include "cache/cache.h"
#include "daemon/api_service.h"
#include "daemon/config.h"
#include "daemon/mounts.h"
#include "daemon/socket_server.h"
#include "fetcher/origins.h"

namespace rangecache::daemon {

/// All parts, wired: origins, cache, mounts, socket. start() returns once the socket listens and
/// the configured mount is usable. stop() undoes it in the order that lets no part see another
/// one gone: no new requests, no new bytes, then save.
class Daemon {
 public:
  /// `begin_stop` is called, from any thread, when the API or the last unmount asks for the end.
  static Result<std::unique_ptr<Daemon>> start(const Config& config,
                                               std::function<void()> begin_stop);
  ~Daemon();
  void stop();

 private:
  Daemon() = default;
  Result<void> mount_configured(const Config& config);

  Metrics metrics_;
  std::unique_ptr<fetcher::Origins> origins_;
  std::unique_ptr<cache::Cache> cache_;
  std::unique_ptr<Mounts> mounts_;
  std::unique_ptr<ApiService> service_;
  std::unique_ptr<SocketServer> socket_;
};

}  // namespace rangecache::daemon
