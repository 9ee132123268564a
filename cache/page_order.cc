#include "cache/page_order.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "cache/directory_listing.h"

namespace rangecache::cache {
namespace {

std::string key_of(const ListEntry& entry) { return entry.name + (entry.is_directory ? "/" : ""); }

}  // namespace

std::vector<ListEntry> PageOrder::next(std::vector<ListEntry> page, bool last) {
  std::string last_key;
  for (const ListEntry& entry : page) last_key = std::max(last_key, key_of(entry));
  std::move(held_back_.begin(), held_back_.end(), std::back_inserter(page));
  held_back_.clear();
  sort_names(page);
  const auto again = std::find_if(page.begin(), page.end(), [&](const ListEntry& entry) {
    return entry.is_directory && key_of(entry) == last_key_;
  });
  if (again != page.end()) page.erase(again);
  last_key_ = last_key;
  if (last) return page;

  const auto held = std::stable_partition(page.begin(), page.end(), [&](const ListEntry& entry) {
    return entry.is_directory || entry.name + "/" <= last_key;
  });
  std::move(held, page.end(), std::back_inserter(held_back_));
  page.erase(held, page.end());
  return page;
}

}  // namespace rangecache::cache
