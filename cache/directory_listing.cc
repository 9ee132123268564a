#include "cache/directory_listing.h"

#include <algorithm>
#include <tuple>

namespace rangecache::cache {

const ListEntry* DirectoryListing::find(std::string_view name) const {
  const auto found = std::lower_bound(
      entries.begin(), entries.end(), name,
      [](const ListEntry& entry, std::string_view wanted) { return entry.name < wanted; });
  return found != entries.end() && found->name == name ? &*found : nullptr;
}

void sort_names(std::vector<ListEntry>& entries) {
  std::stable_sort(entries.begin(), entries.end(), [](const ListEntry& a, const ListEntry& b) {
    return std::tie(a.name, b.is_directory) < std::tie(b.name, a.is_directory);
  });
  entries.erase(
      std::unique(entries.begin(), entries.end(),
                  [](const ListEntry& a, const ListEntry& b) { return a.name == b.name; }),
      entries.end());
}

}  // namespace rangecache::cache
