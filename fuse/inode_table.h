#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>

#include "base/mutex.h"
#include "fuse/backend.h"

namespace rangecache::fuse {

/// Which Node each node id of the kernel stands for, and how often the kernel looked it up.
///
/// A node id names one version (or directory): it is never reused, so that an old handle can never
/// meet new bytes. The table keeps a Node alive until the kernel has forgotten it. Thread-safe.
class InodeTable {
 public:
  static constexpr std::uint64_t kRootId = 1;

  explicit InodeTable(NodePtr root);

  /// The Node of `id`; null when the kernel was never told of it, or has forgotten it.
  NodePtr find(std::uint64_t id) const EXCLUDES(mu_);

  /// Counts one lookup of `node` as `name` in the directory `parent`, and returns its id: the same
  /// one for the same Node. Every call is undone by one unit of forget().
  std::uint64_t add_lookup(const NodePtr& node, std::uint64_t parent, std::string name)
      EXCLUDES(mu_);

  /// The kernel drops `lookups` of its references to `id`; with the last one the Node goes.
  /// The root stays.
  void forget(std::uint64_t id, std::uint64_t lookups) EXCLUDES(mu_);

  struct Name {
    std::uint64_t parent = 0;
    std::string name;
  };
  /// Where `node` was last looked up; nullopt when the kernel does not know it, and for the root.
  std::optional<Name> name_of(const NodePtr& node) const EXCLUDES(mu_);

  /// Nodes that the kernel knows, the root included.
  std::size_t size() const EXCLUDES(mu_);

 private:
  struct Inode {
    NodePtr node;
    std::uint64_t lookups = 0;
    Name name;
  };

  mutable Mutex mu_;
  std::unordered_map<std::uint64_t, Inode> inodes_ GUARDED_BY(mu_);
  std::unordered_map<const Node*, std::uint64_t> ids_ GUARDED_BY(mu_);
  std::uint64_t next_id_ GUARDED_BY(mu_) = kRootId + 1;
};

}  // namespace rangecache::fuse
