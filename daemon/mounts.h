#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/mutex.h"
#include "cache/cache.h"
#include "daemon/mount_backend.h"
#include "daemon/mount_source.h"
#include "daemon/service.h"
#include "fuse/session.h"

namespace rangecache::daemon {

/// The mounts of one daemon. Mounting and unmounting block, so they run on a thread of their own
/// ("rc-mounts"); everything else may be called from any thread.
class Mounts {
 public:
  struct Options {
    bool allow_other = false;
    bool passthrough = true;
    /// The last mount was ended from outside (fusermount3 -u). Called on "rc-mounts".
    std::function<void()> all_gone;
  };
  Mounts(cache::Cache& cache, Options options);
  ~Mounts();

  void mount(MountSource source, std::string mountpoint, Callback<MountInfo> done);
  void unmount(std::string mountpoint, Callback<MountInfo> done);
  struct Status {
    MountInfo info;
    fuse::Session::Usage usage;
  };
  std::vector<Status> status() const EXCLUDES(mu_);
  /// An object has changed: the kernel must not use its old version's name any more.
  void invalidate(const ObjectAddress& address) EXCLUDES(mu_);
  /// The kernel forgets the names of all files whose URL begins with `url_prefix`.
  void invalidate_below(const std::string& url_prefix) EXCLUDES(mu_);
  /// Unmounts everything and ends the thread.
  void stop() EXCLUDES(mu_);

 private:
  struct Mount {
    MountInfo info;
    std::shared_ptr<MountBackend> backend;
    std::unique_ptr<fuse::Session> session;
  };
  std::vector<std::shared_ptr<Mount>> all() const EXCLUDES(mu_);
  Result<MountInfo> mount_now(MountSource source, const std::string& mountpoint);
  void ended(const std::string& mountpoint);
  std::shared_ptr<Mount> take(const std::string& mountpoint) EXCLUDES(mu_);

  cache::Cache& cache_;
  const Options options_;
  mutable Mutex mu_;
  std::map<std::string, std::shared_ptr<Mount>> mounts_ GUARDED_BY(mu_);  ///< by mount point
  EventLoop loop_;
};

}  // namespace rangecache::daemon
