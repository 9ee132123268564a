#include "cache/directories.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/log.h"

namespace rangecache::cache {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr std::int64_t kRememberFailure_s = 60;
constexpr std::size_t kMaxEntriesHeld = 2'000'000;  // in all listings together

}  // namespace

const ListEntry* DirectoryListing::find(std::string_view name) const {
  const auto found = std::lower_bound(
      entries.begin(), entries.end(), name,
      [](const ListEntry& entry, std::string_view wanted) { return entry.name < wanted; });
  return found != entries.end() && found->name == name ? &*found : nullptr;
}

std::string Directories::slot_key(const Origin& origin, std::string_view dir_key) {
  std::string key = origin.id();
  key += '\n';
  key += dir_key;
  return key;
}

Directories::Slot& Directories::slot_locked(const std::shared_ptr<Origin>& origin,
                                            const std::string& dir_key) {
  Slot& slot = slots_[slot_key(*origin, dir_key)];
  if (!slot.origin) {
    slot.origin = origin;
    slot.dir_key = dir_key;
  }
  return slot;
}

ListingPtr Directories::cached(const Origin& origin, std::string_view dir_key) {
  MutexLock lock(mu_);
  const auto found = slots_.find(slot_key(origin, dir_key));
  return found == slots_.end() ? nullptr : found->second.listing;
}

void Directories::invalidate(const Origin& origin, std::string_view dir_key) {
  MutexLock lock(mu_);
  const auto found = slots_.find(slot_key(origin, dir_key));
  if (found != slots_.end()) found->second.invalid = true;
}

std::uint64_t Directories::invalidate_below(std::string_view url_prefix) {
  MutexLock lock(mu_);
  std::uint64_t count = 0;
  for (auto& [key, slot] : slots_) {
    if (!std::string_view(slot.origin->url_of(slot.dir_key)).starts_with(url_prefix)) continue;
    count += slot.listing && !slot.invalid ? 1 : 0;
    slot.invalid = true;
    slot.failed = false;
  }
  return count;
}

std::vector<Directories::Known> Directories::all() const {
  std::vector<Known> all;
  MutexLock lock(mu_);
  for (const auto& [key, slot] : slots_)
    if (slot.listing && !slot.invalid) all.push_back({slot.origin, slot.dir_key, slot.listing});
  return all;
}

void Directories::load(Known known) {
  MutexLock lock(mu_);
  Slot& slot = slot_locked(known.origin, known.dir_key);
  if (slot.listing || slot.asking) return;
  slot.listing = std::move(known.listing);
  entries_held_ += slot.listing->entries.size();
}

/// Past its time, but the origin cannot be asked.
bool Directories::serves_in_need(const Slot& slot) const {
  if (!slot.listing || slot.invalid || !slot.failed || !is_transient(slot.error.code)) return false;
  const std::int64_t until_ns =
      slot.listing->fresh_until_ns + policies_.of(*slot.origin).stale_if_error_s * kNsPerSecond;
  return clock_.monotonic_ns() < until_ns;
}

void Directories::list(const std::shared_ptr<Origin>& origin, std::string dir_key,
                       Callback<ListingPtr> done) {
  const std::int64_t now = clock_.monotonic_ns();
  ListingPtr known;
  Error failure;
  {
    MutexLock lock(mu_);
    Slot& slot = slot_locked(origin, dir_key);
    const bool failed = slot.failed && slot.failed_until_ns > now;
    if (slot.listing && !slot.invalid && slot.listing->fresh_until_ns > now) {
      known = slot.listing;
    } else if (failed && serves_in_need(slot)) {
      known = slot.listing;
    } else if (failed) {
      failure = slot.error;
    } else {
      slot.waiting.push_back(std::move(done));
      if (std::exchange(slot.asking, true)) return;
      // From here on it says that the answer under way may be too old already.
      if (std::exchange(slot.invalid, false) && slot.listing) {
        entries_held_ -= slot.listing->entries.size();
        slot.listing = nullptr;
      }
    }
  }
  if (known) return done(std::move(known));
  if (done) return done(std::move(failure));
  ask(origin, std::move(dir_key), "", std::make_shared<DirectoryListing>());
}

void Directories::ask(std::shared_ptr<Origin> origin, std::string dir_key, std::string token,
                      std::shared_ptr<DirectoryListing> sofar) {
  Origin& asked = *origin;
  asked.list(dir_key, std::move(token), [this, origin, dir_key, sofar](Result<ListPage> page) {
    if (!page) return finish(origin, dir_key, page.error());
    std::move(page->entries.begin(), page->entries.end(), std::back_inserter(sofar->entries));
    sofar->hidden_entries += page->hidden_entries;
    if (!page->next_token.empty()) return ask(origin, dir_key, page->next_token, sofar);

    sofar->complete = page->complete;
    auto& entries = sofar->entries;
    // Of a name that is both, the directory stays: what is below it could not be reached else.
    std::stable_sort(entries.begin(), entries.end(), [](const ListEntry& a, const ListEntry& b) {
      return std::tie(a.name, b.is_directory) < std::tie(b.name, a.is_directory);
    });
    entries.erase(
        std::unique(entries.begin(), entries.end(),
                    [](const ListEntry& a, const ListEntry& b) { return a.name == b.name; }),
        entries.end());
    sofar->fresh_until_ns =
        clock_.monotonic_ns() +
        policies_.of(*origin).listing_lifetime_s(page->freshness) * kNsPerSecond;
    finish(origin, dir_key, ListingPtr(sofar));
  });
}

void Directories::finish(const std::shared_ptr<Origin>& origin, const std::string& dir_key,
                         Result<ListingPtr> result) {
  std::vector<Callback<ListingPtr>> waiting;
  {
    MutexLock lock(mu_);
    Slot& slot = slot_locked(origin, dir_key);
    slot.asking = false;
    waiting.swap(slot.waiting);
    slot.failed = !result;
    if (result) {
      if (slot.listing) entries_held_ -= slot.listing->entries.size();
      slot.listing = *result;
      ++serial_;
      entries_held_ += slot.listing->entries.size();
      shed_locked();
    } else {
      slot.error = result.error();
      // A server that is down is asked again soon; one that has no index will not grow one.
      slot.failed_until_ns =
          clock_.monotonic_ns() +
          (is_transient(slot.error.code) ? 1 : kRememberFailure_s) * kNsPerSecond;
      if (serves_in_need(slot)) result = slot.listing;
    }
  }
  if (result && (*result)->hidden_entries > 0)
    log_info("{}: {} names cannot be shown in a directory", origin->url_of(dir_key),
             (*result)->hidden_entries);
  for (auto& done : waiting) done(result);
}

void Directories::shed_locked() {
  if (entries_held_ <= kMaxEntriesHeld) return;
  const std::int64_t now = clock_.monotonic_ns();
  for (auto it = slots_.begin(); it != slots_.end();) {
    const bool stale = it->second.listing && it->second.listing->fresh_until_ns <= now;
    if (!stale || it->second.asking) {
      ++it;
      continue;
    }
    entries_held_ -= it->second.listing->entries.size();
    it = slots_.erase(it);
  }
}

}  // namespace rangecache::cache
