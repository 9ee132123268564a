#pragma once

#include <list>
#include <memory>

#include "base/metrics.h"
#include "base/mutex.h"
#include "cache/catalog.h"
#include "cache/directory_walk.h"

namespace rangecache::cache {

/// Fetches small files before they are opened, where a program goes through a directory in the
/// order of its listing. Thread-safe.
class DirectoryReadAhead {
 public:
  DirectoryReadAhead(Catalog& catalog, std::uint64_t max_window, Metrics& metrics);

  /// `snapshot` was opened to be read.
  void opened(const Snapshot& snapshot) EXCLUDES(mu_);

 private:
  struct Watched {
    std::shared_ptr<Origin> origin;
    std::string directory;
    ListingPtr listing;
    std::size_t first = 0;                ///< the first entry that was opened
    std::unique_ptr<DirectoryWalk> walk;  ///< null until a second one is
  };
  static constexpr std::size_t kMaxWatched = 16;

  Watched& watched_locked(const ObjectAddress& directory) REQUIRES(mu_);
  std::vector<std::size_t> note(const ObjectAddress& directory, const ListingPtr& listing,
                                std::size_t index, bool useful) EXCLUDES(mu_);
  static std::vector<std::uint64_t> sizes_of(const DirectoryListing& listing);

  Catalog& catalog_;
  const std::uint64_t max_window_;
  Counter& fetched_;

  Mutex mu_;
  std::list<Watched> watched_ GUARDED_BY(mu_);  ///< the last one used first
};

}  // namespace rangecache::cache
