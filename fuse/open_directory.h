#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "fuse/backend.h"

namespace rangecache::fuse {

/// A directory as it was when it was opened: an entry's number means the same until it is closed,
/// however the kernel goes to and fro. Pages are kept as they come. Thread-safe.
class OpenDirectory : public std::enable_shared_from_this<OpenDirectory> {
 public:
  OpenDirectory(NodeAttributes directory, std::shared_ptr<DirectoryPages> pages)
      : attributes(directory), pages_(std::move(pages)) {}

  const NodeAttributes attributes;

  /// A page, and the number of its first entry. Null: the directory has no more.
  struct Place {
    std::shared_ptr<const DirectoryPage> page;
    std::uint64_t first = 0;
  };
  /// The page that has entry `number`, counted from 0.
  void find(std::uint64_t number, Callback<Place> done) EXCLUDES(mu_);

 private:
  const std::shared_ptr<DirectoryPages> pages_;
  Mutex mu_;
  std::vector<Place> loaded_ GUARDED_BY(mu_);
  std::uint64_t entries_ GUARDED_BY(mu_) = 0;  ///< in all that is loaded
};

}  // namespace rangecache::fuse
