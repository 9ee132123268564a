#include "daemon/mount_backend.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <atomic>

#include "daemon/reader.h"

namespace rangecache::daemon {
namespace {

constexpr std::int64_t kRootValid_ms = 3'600'000;

/// st_ino: the same for all versions of an object, in every run.
std::uint64_t stable_ino(const ObjectAddress& address) {
  const std::string text = address.origin->id() + '\n' + address.key;
  return XXH3_64bits(text.data(), text.size()) | 2;  // never 0, never the root's 1
}

std::int64_t now_ms() { return system_clock().monotonic_ns() / 1'000'000; }

}  // namespace

class MountBackend::DirectoryNode final : public fuse::Node {
 public:
  explicit DirectoryNode(ObjectAddress directory) : address(std::move(directory)) {}
  fuse::NodeAttributes attributes() const override {
    return {.is_directory = true,
            .modified_s = modified_s,
            .stable_ino = address.origin ? stable_ino(address) : 1,
            .valid_for_ms = address.origin ? std::max<std::int64_t>(0, valid_until_ms - now_ms())
                                           : kRootValid_ms};
  }
  const ObjectAddress address;  ///< no origin: the root of a flat mount
  std::atomic<std::int64_t> modified_s{0};
  std::atomic<std::int64_t> valid_until_ms{0};
};

class MountBackend::FileNode final : public fuse::Node {
 public:
  explicit FileNode(cache::SnapshotPtr pinned) : snapshot(std::move(pinned)) {}
  fuse::NodeAttributes attributes() const override {
    return {.is_directory = false,
            .size = snapshot->size(),
            .modified_s = std::max<std::int64_t>(0, snapshot->modified_s()),
            .stable_ino = stable_ino(snapshot->address()),
            .valid_for_ms = std::max<std::int64_t>(0, valid_until_ms - now_ms())};
  }
  const cache::SnapshotPtr snapshot;
  std::atomic<std::int64_t> valid_until_ms{0};
};

class MountBackend::OpenHandle final : public fuse::Handle {
 public:
  OpenHandle(cache::SnapshotPtr snapshot, cache::Cache& cache)
      : reader(std::move(snapshot), cache) {}
  Reader reader;
};

/// The names that a mount was given.
class MountBackend::FlatDirectory final : public fuse::DirectoryPages {
 public:
  explicit FlatDirectory(const MountSource& source) {
    for (const auto& [name, address] : source.files)
      names_->push_back({name, false, stable_ino(address), nullptr});
  }
  void page(std::size_t index, Callback<std::shared_ptr<const fuse::DirectoryPage>> done) override {
    done(index == 0 ? names_ : std::shared_ptr<const fuse::DirectoryPage>());
  }

 private:
  const std::shared_ptr<fuse::DirectoryPage> names_ = std::make_shared<fuse::DirectoryPage>();
};

class MountBackend::ListedDirectory final : public fuse::DirectoryPages {
 public:
  ListedDirectory(std::shared_ptr<MountBackend> mount, ObjectAddress directory,
                  cache::ListingPagesPtr pages)
      : mount_(std::move(mount)), directory_(std::move(directory)), pages_(std::move(pages)) {}

  void page(std::size_t index, Callback<std::shared_ptr<const fuse::DirectoryPage>> done) override {
    pages_->page(index, [mount = mount_, directory = directory_,
                         done = std::move(done)](Result<cache::ListingPtr> page) mutable {
      if (!page) return done(std::move(page.error()));
      done(*page ? mount->shown(directory, **page) : nullptr);
    });
    // The next one comes while the kernel takes this one.
    pages_->page(index + 1, [](const Result<cache::ListingPtr>&) {});
  }

 private:
  const std::shared_ptr<MountBackend> mount_;
  const ObjectAddress directory_;
  const cache::ListingPagesPtr pages_;
};

MountBackend::MountBackend(cache::Cache& cache, MountSource source)
    : cache_(cache), source_(std::move(source)) {
  root_ =
      std::make_shared<DirectoryNode>(source_.files.empty() ? source_.directory : ObjectAddress{});
}

MountBackend::~MountBackend() = default;

// --- nodes ------------------------------------------------------------------------------------

void MountBackend::sweep_locked() {
  if (files_.size() + directories_.size() < sweep_at_) return;
  for (auto it = files_.begin(); it != files_.end();)
    it = it->second.expired() ? files_.erase(it) : std::next(it);
  for (auto it = directories_.begin(); it != directories_.end();)
    it = it->second.expired() ? directories_.erase(it) : std::next(it);
  sweep_at_ = std::max<std::size_t>(1024, 2 * (files_.size() + directories_.size()));
}

fuse::NodePtr MountBackend::file_node(const cache::SnapshotPtr& snapshot,
                                      std::int64_t valid_for_ms) {
  std::shared_ptr<FileNode> node;
  {
    MutexLock lock(mu_);
    std::weak_ptr<FileNode>& slot = files_[snapshot.get()];
    node = slot.lock();  // alive: it holds its snapshot, so the address was not used again
    if (!node) slot = node = std::make_shared<FileNode>(snapshot);
    sweep_locked();
  }
  node->valid_until_ms = now_ms() + valid_for_ms;
  return node;
}

fuse::NodePtr MountBackend::directory_node(const cache::Found& found) {
  std::shared_ptr<DirectoryNode> node;
  {
    MutexLock lock(mu_);
    std::weak_ptr<DirectoryNode>& slot = directories_[found.address.key];
    node = slot.lock();
    if (!node) slot = node = std::make_shared<DirectoryNode>(found.address);
    sweep_locked();
  }
  node->valid_until_ms = now_ms() + found.valid_for_ms;
  if (found.modified_s >= 0) node->modified_s = found.modified_s;
  return node;
}

fuse::NodePtr MountBackend::node_for(const cache::Found& found) {
  return found.is_directory ? directory_node(found) : file_node(found.file, found.valid_for_ms);
}

std::vector<fuse::NodePtr> MountBackend::nodes_of(const ObjectAddress& address) {
  std::vector<fuse::NodePtr> nodes;
  MutexLock lock(mu_);
  for (const auto& [snapshot, weak] : files_) {
    const auto node = weak.lock();
    if (node && node->snapshot->address().origin == address.origin &&
        node->snapshot->address().key == address.key) {
      nodes.push_back(node);
    }
  }
  return nodes;
}

std::vector<fuse::NodePtr> MountBackend::nodes_below(const std::string& url_prefix) {
  std::vector<fuse::NodePtr> nodes;
  MutexLock lock(mu_);
  for (const auto& [snapshot, weak] : files_) {
    const auto node = weak.lock();
    if (!node) continue;
    const ObjectAddress& address = node->snapshot->address();
    if (address.origin->url_of(address.key).starts_with(url_prefix)) nodes.push_back(node);
  }
  return nodes;
}

// --- lookups ----------------------------------------------------------------------------------

void MountBackend::lookup(const fuse::NodePtr& directory, std::string name,
                          Callback<fuse::NodePtr> done) {
  const auto& parent = static_cast<const DirectoryNode&>(*directory);
  if (!parent.address.origin) {
    for (const auto& [file_name, address] : source_.files) {
      if (file_name != name) continue;
      return cache_.catalog().open(address, [self = shared_from_this(), done = std::move(done)](
                                                Result<cache::SnapshotPtr> snapshot) mutable {
        if (!snapshot) return done(snapshot.error());
        done(self->file_node(*snapshot, 1000));
      });
    }
    return done(Error(ErrorCode::kNotFound, name));
  }
  cache_.catalog().lookup(
      parent.address, std::move(name),
      [self = shared_from_this(), done = std::move(done)](Result<cache::Found> found) mutable {
        if (!found) return done(found.error());
        done(self->node_for(*found));
      });
}

void MountBackend::open_directory(const fuse::NodePtr& directory,
                                  Callback<std::shared_ptr<fuse::DirectoryPages>> done) {
  const auto& parent = static_cast<const DirectoryNode&>(*directory);
  if (!parent.address.origin)
    return done(std::shared_ptr<fuse::DirectoryPages>(std::make_shared<FlatDirectory>(source_)));
  cache_.catalog().open_directory(
      parent.address, [self = shared_from_this(), address = parent.address,
                       done = std::move(done)](Result<cache::ListingPagesPtr> pages) mutable {
        if (!pages) return done(std::move(pages.error()));
        done(std::shared_ptr<fuse::DirectoryPages>(std::make_shared<ListedDirectory>(
            std::move(self), std::move(address), *std::move(pages))));
      });
}

std::shared_ptr<const fuse::DirectoryPage> MountBackend::shown(
    const ObjectAddress& directory, const cache::DirectoryListing& page) {
  auto entries = std::make_shared<fuse::DirectoryPage>();
  entries->reserve(page.entries.size());
  for (const ListEntry& entry : page.entries) {
    fuse::DirEntry child{entry.name, entry.is_directory, 0, nullptr};
    if (const auto known = cache_.catalog().known(directory, entry, page.fresh_until_ns)) {
      child.stable_ino = stable_ino(known->address);
      child.node = node_for(*known);
    } else {
      child.stable_ino = stable_ino(
          {directory.origin, directory.origin->child_key(directory.key, entry.name, false)});
    }
    entries->push_back(std::move(child));
  }
  return entries;
}

// --- files ------------------------------------------------------------------------------------

void MountBackend::open(const fuse::NodePtr& file, Callback<std::shared_ptr<fuse::Handle>> done) {
  const auto& node = static_cast<const FileNode&>(*file);
  cache_.catalog().confirm(node.snapshot, [self = shared_from_this(), snapshot = node.snapshot,
                                           done = std::move(done)](Result<void> current) mutable {
    if (!current) return done(current.error());
    done(std::shared_ptr<fuse::Handle>(
        std::make_shared<OpenHandle>(std::move(snapshot), self->cache_)));
  });
}

ReadTicket MountBackend::read(const fuse::NodePtr&, fuse::Handle& handle, ByteRange range,
                              Callback<Slices> done) {
  return static_cast<OpenHandle&>(handle).reader.read(range, std::move(done));
}

std::optional<Slice> MountBackend::whole_file(const fuse::NodePtr& file) {
  const cache::VersionPtr version = static_cast<const FileNode&>(*file).snapshot->version();
  return version ? version->whole_file() : std::nullopt;
}

std::vector<std::pair<std::string, std::string>> MountBackend::extended_attributes(
    const fuse::NodePtr& node) {
  std::vector<std::pair<std::string, std::string>> attributes;
  const auto add = [&](const char* name, std::string value) {
    attributes.emplace_back(std::string("user.rangecache.") + name, std::move(value));
  };
  if (const auto* directory = dynamic_cast<const DirectoryNode*>(node.get())) {
    if (directory->address.origin)
      add("url", directory->address.origin->url_of(directory->address.key));
    const auto listing = directory->address.origin
                             ? cache_.catalog().last_listing(directory->address)
                             : cache::ListingPtr();
    // Names that are no path components; their objects are had by key, through the API.
    if (listing) add("hidden_names", fmt::format("{}", listing->hidden_entries));
    return attributes;
  }
  const auto& snapshot = *static_cast<const FileNode&>(*node).snapshot;
  add("url", snapshot.address().origin->url_of(snapshot.address().key));
  const cache::VersionPtr version = snapshot.version();
  add("cached_bytes", fmt::format("{}", version ? version->cached_bytes() : 0));
  const std::int64_t now = system_clock().unix_s();
  if (!version) {  // never opened: what its listing told
    if (snapshot.listed().validator.kind != Validator::Kind::kNone)
      add("etag", snapshot.listed().validator.value);
    return attributes;
  }
  const auto heard = version->heard();
  add("etag", version->validator().value);
  add("stale", now < heard.fresh_until_s ? "0" : "1");
  add("version", version->id().hex());
  add("age", fmt::format("{}", std::max<std::int64_t>(0, now - heard.validated_s)));
  add("fresh_for", fmt::format("{}", std::max<std::int64_t>(0, heard.fresh_until_s - now)));
  add("current", heard.current ? "1" : "0");
  return attributes;
}

fuse::FileSystemSpace MountBackend::space() {
  const std::uint64_t limit = cache_.options().size_bytes;
  const std::uint64_t used = cache_.disk_used();
  MutexLock lock(mu_);
  return {limit, limit - std::min(limit, used), files_.size()};
}

}  // namespace rangecache::daemon
