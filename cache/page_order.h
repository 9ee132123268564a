#pragma once

#include <string>
#include <vector>

#include "base/origin.h"

namespace rangecache::cache {

/// Lets each name of a listing out once, although its pages are not all here yet.
///
/// Origins list in the byte order of keys, and a directory's key ends in '/'. So the directory that
/// hides an object of its name may come pages later, for other keys lie between:
///
///     page 1   a   a!   a-b   |   page 2   a.txt   a/   b
///              held back ─────────────────────────► hidden by the directory
///
/// Pure; the caller serialises.
class PageOrder {
 public:
  /// What may be shown now: of this page, and of what was held back before it. Sorted by name.
  std::vector<ListEntry> next(std::vector<ListEntry> page, bool last);

 private:
  std::vector<ListEntry> held_back_;
  std::string last_key_;  ///< of the page before: some origins name a directory on both
};

}  // namespace rangecache::cache
