#include "cache/directory_read_ahead.h"

#include <algorithm>

namespace rangecache::cache {

DirectoryReadAhead::DirectoryReadAhead(Catalog& catalog, std::uint64_t max_window, Metrics& metrics)
    : catalog_(catalog),
      max_window_(max_window),
      fetched_(metrics.counter("rangecache_directory_read_ahead_files_total",
                               "Small files fetched because those before them were opened")) {}

std::vector<std::uint64_t> DirectoryReadAhead::sizes_of(const DirectoryListing& listing) {
  std::vector<std::uint64_t> sizes;
  sizes.reserve(listing.entries.size());
  for (const ListEntry& entry : listing.entries)
    sizes.push_back(entry.is_directory ? DirectoryWalk::kNotFetched
                                       : entry.size.value_or(DirectoryWalk::kNotFetched));
  return sizes;
}

DirectoryReadAhead::Watched& DirectoryReadAhead::watched_locked(const ObjectAddress& directory) {
  const auto found = std::find_if(watched_.begin(), watched_.end(), [&](const Watched& watched) {
    return watched.origin == directory.origin && watched.directory == directory.key;
  });
  if (found != watched_.end()) {
    watched_.splice(watched_.begin(), watched_, found);
  } else {
    watched_.push_front({directory.origin, directory.key});
    if (watched_.size() > kMaxWatched) watched_.pop_back();
  }
  return watched_.front();
}

std::vector<std::size_t> DirectoryReadAhead::note(const ObjectAddress& directory,
                                                  const ListingPtr& listing, std::size_t index,
                                                  bool useful) {
  MutexLock lock(mu_);
  Watched& watched = watched_locked(directory);
  if (watched.listing != listing) {
    watched.listing = listing;
    watched.first = index;
    watched.walk = nullptr;
    return {};
  }
  if (!watched.walk) {
    watched.walk = std::make_unique<DirectoryWalk>(sizes_of(*listing), max_window_);
    watched.walk->opened(watched.first, false);
  }
  return watched.walk->opened(index, useful);
}

void DirectoryReadAhead::opened(const Snapshot& snapshot) {
  const ObjectAddress& address = snapshot.address();
  if (!catalog_.keeps_what_is_read(*address.origin)) return;
  const ObjectAddress directory{address.origin, directory_of(address.key)};
  const ListingPtr listing = catalog_.last_listing(directory);
  const ListEntry* entry = listing ? listing->find(address.origin->name_of(address.key)) : nullptr;
  if (!entry || entry->is_directory) return;
  const VersionPtr version = snapshot.version();  // null: what was asked for is still on its way
  const bool useful = !version || (!version->no_store() &&
                                   version->heard().fresh_until_s > catalog_.clock().unix_s());
  const auto index = static_cast<std::size_t>(entry - listing->entries.data());
  for (const std::size_t next : note(directory, listing, index, useful)) {
    const auto found = catalog_.known(directory, listing->entries[next], listing->fresh_until_ns);
    if (!found || !found->file) continue;
    fetched_.add();
    catalog_.fetch_whole(found->file);
  }
}

}  // namespace rangecache::cache
