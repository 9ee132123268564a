#include "fuse/inode_table.h"

#include <utility>

#include "base/check.h"

namespace rangecache::fuse {

InodeTable::InodeTable(NodePtr root) {
  CHECK(root != nullptr);
  MutexLock lock(mu_);
  ids_[root.get()] = kRootId;
  inodes_[kRootId] = Inode{std::move(root), 1, {}};
}

NodePtr InodeTable::find(std::uint64_t id) const {
  MutexLock lock(mu_);
  const auto found = inodes_.find(id);
  return found == inodes_.end() ? nullptr : found->second.node;
}

std::uint64_t InodeTable::add_lookup(const NodePtr& node, std::uint64_t parent, std::string name) {
  CHECK(node != nullptr);
  MutexLock lock(mu_);
  const auto [known, is_new] = ids_.try_emplace(node.get(), next_id_);
  const std::uint64_t id = known->second;
  Inode& inode = inodes_[id];
  if (is_new) {
    ++next_id_;
    inode.node = node;
  }
  ++inode.lookups;
  if (id != kRootId) inode.name = {parent, std::move(name)};
  return id;
}

void InodeTable::forget(std::uint64_t id, std::uint64_t lookups) {
  if (id == kRootId) return;
  NodePtr last;  // a Node's destructor is the backend's code: it runs without our lock
  MutexLock lock(mu_);
  const auto found = inodes_.find(id);
  if (found == inodes_.end()) return;
  Inode& inode = found->second;
  if (lookups < inode.lookups) {
    inode.lookups -= lookups;
    return;
  }
  last = std::move(inode.node);
  ids_.erase(last.get());
  inodes_.erase(found);
}

std::optional<InodeTable::Name> InodeTable::name_of(const NodePtr& node) const {
  MutexLock lock(mu_);
  const auto id = ids_.find(node.get());
  if (id == ids_.end() || id->second == kRootId) return std::nullopt;
  return inodes_.at(id->second).name;
}

std::size_t InodeTable::size() const {
  MutexLock lock(mu_);
  return inodes_.size();
}

}  // namespace rangecache::fuse
