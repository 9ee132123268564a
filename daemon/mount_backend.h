#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/mutex.h"
#include "cache/cache.h"
#include "cache/catalog.h"
#include "daemon/mount_source.h"
#include "fuse/backend.h"

namespace rangecache::daemon {

/// Shows a MountSource of the cache to FUSE. Thread-safe; outlived by the cache.
class MountBackend final : public fuse::Backend, public std::enable_shared_from_this<MountBackend> {
 public:
  MountBackend(cache::Cache& cache, MountSource source);
  ~MountBackend() override;

  fuse::NodePtr root() override { return root_; }
  void lookup(const fuse::NodePtr& directory, std::string name,
              Callback<fuse::NodePtr> done) override;
  void open_directory(const fuse::NodePtr& directory,
                      Callback<std::shared_ptr<fuse::DirectoryPages>> done) override;
  void open(const fuse::NodePtr& file, Callback<std::shared_ptr<fuse::Handle>> done) override;
  ReadTicket read(const fuse::NodePtr& file, fuse::Handle& handle, ByteRange range,
                  Callback<Slices> done) override;
  std::optional<Slice> whole_file(const fuse::NodePtr& file) override;
  std::vector<std::pair<std::string, std::string>> extended_attributes(
      const fuse::NodePtr& node) override;
  fuse::FileSystemSpace space() override;

  /// The nodes through which the kernel may know versions of this object (to be invalidated).
  std::vector<fuse::NodePtr> nodes_below(const std::string& url_prefix) EXCLUDES(mu_);
  std::vector<fuse::NodePtr> nodes_of(const ObjectAddress& address);

 private:
  class DirectoryNode;
  class FileNode;
  class OpenHandle;
  class FlatDirectory;
  class ListedDirectory;

  std::shared_ptr<const fuse::DirectoryPage> shown(const ObjectAddress& directory,
                                                   const cache::DirectoryListing& page)
      EXCLUDES(mu_);
  fuse::NodePtr node_for(const cache::Found& found) EXCLUDES(mu_);
  fuse::NodePtr directory_node(const cache::Found& found) EXCLUDES(mu_);
  fuse::NodePtr file_node(const cache::SnapshotPtr& snapshot, std::int64_t valid_for_ms)
      EXCLUDES(mu_);
  void sweep_locked() REQUIRES(mu_);

  cache::Cache& cache_;
  const MountSource source_;
  fuse::NodePtr root_;

  Mutex mu_;
  /// Two lookups that find the same version give the same node. Dead entries are swept.
  std::unordered_map<const cache::Snapshot*, std::weak_ptr<FileNode>> files_ GUARDED_BY(mu_);
  std::unordered_map<std::string, std::weak_ptr<DirectoryNode>> directories_ GUARDED_BY(mu_);
  std::size_t sweep_at_ GUARDED_BY(mu_) = 1024;
};

}  // namespace rangecache::daemon
