#include "fuse/open_directory.h"

#include <algorithm>
#include <utility>

namespace rangecache::fuse {
namespace {

constexpr std::size_t kNameMax = 255;

/// The kernel fails a whole listing for one name with a slash in it; "." and ".." are ours.
bool is_presentable(const DirEntry& entry) {
  const std::string& name = entry.name;
  return !name.empty() && name.size() <= kNameMax && name != "." && name != ".." &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

std::shared_ptr<const DirectoryPage> presentable(std::shared_ptr<const DirectoryPage> page) {
  if (std::all_of(page->begin(), page->end(), is_presentable)) return page;
  auto kept = std::make_shared<DirectoryPage>();
  std::copy_if(page->begin(), page->end(), std::back_inserter(*kept), is_presentable);
  return kept;
}

}  // namespace

void OpenDirectory::find(std::uint64_t number, Callback<Place> done) {
  std::size_t next = 0;
  Place found;
  {
    MutexLock lock(mu_);
    next = loaded_.size();
    if (number < entries_) {
      const auto after = std::upper_bound(
          loaded_.begin(), loaded_.end(), number,
          [](std::uint64_t wanted, const Place& place) { return wanted < place.first; });
      found = *std::prev(after);
    }
  }
  if (found.page) return done(std::move(found));
  pages_->page(next, [self = shared_from_this(), next, number, done = std::move(done)](
                         Result<std::shared_ptr<const DirectoryPage>> page) mutable {
    if (!page) return done(std::move(page.error()));
    if (!*page) return done(Place{});
    {
      MutexLock lock(self->mu_);
      if (self->loaded_.size() == next) {  // else another request was given it, too
        self->loaded_.push_back({presentable(*std::move(page)), self->entries_});
        self->entries_ += self->loaded_.back().page->size();
      }
    }
    self->find(number, std::move(done));
  });
}

}  // namespace rangecache::fuse
