#include "daemon/mounts.h"

#include <filesystem>
#include <utility>

#include "base/log.h"

namespace rangecache::daemon {
namespace {

std::string absolute_path(const std::string& path) {
  std::error_code error;
  auto absolute = std::filesystem::absolute(path, error).lexically_normal();
  if (!absolute.has_filename()) absolute = absolute.parent_path();
  return error ? path : absolute.string();
}

}  // namespace

Mounts::Mounts(cache::Cache& cache, Options options)
    : cache_(cache), options_(std::move(options)), loop_("rc-mounts") {}

Mounts::~Mounts() { stop(); }

void Mounts::mount(MountSource source, std::string mountpoint, Callback<MountInfo> done) {
  loop_.post([this, source = std::move(source), path = absolute_path(mountpoint),
              done = std::move(done)]() mutable { done(mount_now(std::move(source), path)); });
}

Result<MountInfo> Mounts::mount_now(MountSource source, const std::string& mountpoint) {
  {
    MutexLock lock(mu_);
    if (mounts_.count(mountpoint))
      return Error(ErrorCode::kBusy, mountpoint + " is a mount of this daemon already");
  }
  auto mount = std::make_shared<Mount>();
  mount->info = {source.label, mountpoint};
  mount->backend = std::make_shared<MountBackend>(cache_, std::move(source));
  fuse::SessionOptions options;
  options.mount_point = mountpoint;
  options.fs_name = mount->info.url;
  options.allow_other = options_.allow_other;
  options.passthrough = options_.passthrough;
  options.on_exit = [this, mountpoint] { loop_.post([this, mountpoint] { ended(mountpoint); }); };
  RC_ASSIGN(mount->session, fuse::Session::mount(mount->backend, std::move(options)));
  const MountInfo info = mount->info;
  {
    MutexLock lock(mu_);
    mounts_[mountpoint] = std::move(mount);
  }
  log_info("{} is mounted at {}", info.url, info.mountpoint);
  return info;
}

std::shared_ptr<Mounts::Mount> Mounts::take(const std::string& mountpoint) {
  MutexLock lock(mu_);
  const auto found = mounts_.find(mountpoint);
  if (found == mounts_.end()) return nullptr;
  auto mount = std::move(found->second);
  mounts_.erase(found);
  return mount;
}

void Mounts::unmount(std::string mountpoint, Callback<MountInfo> done) {
  loop_.post([this, path = absolute_path(mountpoint), done = std::move(done)]() mutable {
    const auto mount = take(path);
    if (!mount) {
      return done(Error(ErrorCode::kNotFound,
                        path + " is no mount of this daemon: cachectl stats lists them"));
    }
    mount->session->unmount();
    log_info("{} is unmounted", path);
    done(mount->info);
  });
}

void Mounts::ended(const std::string& mountpoint) {
  const auto mount = take(mountpoint);
  if (!mount) return;
  mount->session->unmount();
  log_info("{} was unmounted from outside", mountpoint);
  bool none = false;
  {
    MutexLock lock(mu_);
    none = mounts_.empty();
  }
  if (none && options_.all_gone) options_.all_gone();
}

std::vector<Mounts::Status> Mounts::status() const {
  std::vector<Status> status;
  for (const auto& mount : all()) status.push_back({mount->info, mount->session->usage()});
  return status;
}

std::vector<std::shared_ptr<Mounts::Mount>> Mounts::all() const {
  std::vector<std::shared_ptr<Mount>> mounts;
  MutexLock lock(mu_);
  for (const auto& [path, mount] : mounts_) mounts.push_back(mount);
  return mounts;
}

void Mounts::invalidate(const ObjectAddress& address) {
  for (const auto& mount : all())
    for (const fuse::NodePtr& node : mount->backend->nodes_of(address))
      mount->session->invalidate(node);
}

void Mounts::invalidate_below(const std::string& url_prefix) {
  for (const auto& mount : all())
    for (const fuse::NodePtr& node : mount->backend->nodes_below(url_prefix))
      mount->session->invalidate(node);
}

void Mounts::stop() {
  loop_.stop();
  std::map<std::string, std::shared_ptr<Mount>> mounts;
  {
    MutexLock lock(mu_);
    mounts.swap(mounts_);
  }
  for (const auto& [path, mount] : mounts) {
    mount->session->unmount();
    log_info("{} is unmounted", path);
  }
}

}  // namespace rangecache::daemon
