#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "base/origin.h"

namespace rangecache::cache {

/// One directory as its origin listed it, or one page of that. Immutable.
struct DirectoryListing {
  std::vector<ListEntry> entries;  ///< sorted by name, no two alike
  bool complete = false;  ///< what is not here does not exist; never of one page of several
  std::uint64_t hidden_entries = 0;
  std::int64_t fresh_until_ns = 0;  ///< Clock::monotonic_ns()

  const ListEntry* find(std::string_view name) const;
};
using ListingPtr = std::shared_ptr<const DirectoryListing>;

/// Sorts by name; of a name that is both, the directory stays: what is below it could not be
/// reached else.
void sort_names(std::vector<ListEntry>& entries);

}  // namespace rangecache::cache
