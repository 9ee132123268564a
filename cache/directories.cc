#include "cache/directories.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "base/log.h"

namespace rangecache::cache {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr std::int64_t kRememberFailure_s = 60;

}  // namespace

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
  if (found == slots_.end()) return;
  found->second.invalid = true;
  found->second.coming = nullptr;  // it may be too old already
}

std::uint64_t Directories::invalidate_below(std::string_view url_prefix) {
  MutexLock lock(mu_);
  std::uint64_t count = 0;
  for (auto& [key, slot] : slots_) {
    if (!std::string_view(slot.origin->url_of(slot.dir_key)).starts_with(url_prefix)) continue;
    count += slot.listing && !slot.invalid ? 1 : 0;
    slot.invalid = true;
    slot.coming = nullptr;
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
  if (slot.listing || slot.coming) return;
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

Directories::Begun Directories::begin(const std::shared_ptr<Origin>& origin,
                                      const std::string& dir_key) {
  const std::int64_t now = clock_.monotonic_ns();
  MutexLock lock(mu_);
  const auto found = slots_.find(slot_key(*origin, dir_key));
  if (found != slots_.end()) {
    const Slot& known = found->second;
    const bool failed = known.failed && known.failed_until_ns > now;
    if (known.listing && !known.invalid && known.listing->fresh_until_ns > now)
      return {known.listing, nullptr, {}};
    if (failed && serves_in_need(known)) return {known.listing, nullptr, {}};
    if (failed) return {nullptr, nullptr, known.error};
  }
  Slot& slot = slot_locked(origin, dir_key);
  shed_locked(slot);
  if (!slot.coming || !slot.coming->serves(now)) {
    slot.coming = new_pages(origin, dir_key);
    if (std::exchange(slot.invalid, false) && slot.listing) {
      entries_held_ -= slot.listing->entries.size();
      slot.listing = nullptr;
    }
  }
  return {nullptr, slot.coming, {}};
}

ListingPagesPtr Directories::new_pages(const std::shared_ptr<Origin>& origin,
                                       const std::string& dir_key) {
  return std::make_shared<ListingPages>(ListingPages::Source{
      .origin = origin,
      .dir_key = dir_key,
      .fresh_until_ns =
          [this, &policy = policies_.of(*origin)](const Freshness& freshness) {
            return clock_.monotonic_ns() + policy.listing_lifetime_s(freshness) * kNsPerSecond;
          },
      .over = [this, origin, dir_key](
                  const ListingPages& pages,
                  const Result<ListingPtr>& result) { over(origin, dir_key, pages, result); },
      .entries = coming_entries_});
}

void Directories::open(const std::shared_ptr<Origin>& origin, std::string dir_key,
                       Callback<ListingPagesPtr> done) {
  Begun begun = begin(origin, dir_key);
  if (begun.known) return done(std::make_shared<ListingPages>(std::move(begun.known)));
  if (!begun.coming) return done(std::move(begun.failure));
  begun.coming->page(0, [this, origin, dir_key = std::move(dir_key), pages = begun.coming,
                         done = std::move(done)](Result<ListingPtr> first) mutable {
    if (first) return done(std::move(pages));
    if (ListingPtr old = in_need(*origin, dir_key))
      return done(std::make_shared<ListingPages>(std::move(old)));
    done(std::move(first.error()));
  });
}

void Directories::list(const std::shared_ptr<Origin>& origin, std::string dir_key,
                       Callback<ListingPtr> done) {
  Begun begun = begin(origin, dir_key);
  if (begun.known) return done(std::move(begun.known));
  if (!begun.coming) return done(std::move(begun.failure));
  begun.coming->whole([this, origin, dir_key = std::move(dir_key),
                       done = std::move(done)](Result<ListingPtr> whole) mutable {
    if (!whole) {
      if (ListingPtr old = in_need(*origin, dir_key)) return done(std::move(old));
    }
    done(std::move(whole));
  });
}

ListingPtr Directories::in_need(const Origin& origin, const std::string& dir_key) {
  MutexLock lock(mu_);
  const auto found = slots_.find(slot_key(origin, dir_key));
  return found != slots_.end() && serves_in_need(found->second) ? found->second.listing : nullptr;
}

void Directories::over(const std::shared_ptr<Origin>& origin, const std::string& dir_key,
                       const ListingPages& pages, const Result<ListingPtr>& result) {
  {
    MutexLock lock(mu_);
    Slot& slot = slot_locked(origin, dir_key);
    if (slot.coming.get() != &pages) return;  // a newer one is asked for, or is to be
    slot.coming = nullptr;
    slot.failed = !result;
    if (result) {
      if (slot.listing) entries_held_ -= slot.listing->entries.size();
      slot.listing = *result;
      ++serial_;
      entries_held_ += slot.listing->entries.size();
    } else {
      slot.error = result.error();
      // A server that is down is asked again soon; one that has no index will not grow one.
      slot.failed_until_ns =
          clock_.monotonic_ns() +
          (is_transient(slot.error.code) ? 1 : kRememberFailure_s) * kNsPerSecond;
    }
  }
  if (result && (*result)->hidden_entries > 0)
    log_info("{}: {} names cannot be shown in a directory", origin->url_of(dir_key),
             (*result)->hidden_entries);
}

std::size_t Directories::entries_held() const {
  MutexLock lock(mu_);
  return entries_held_locked();
}

void Directories::shed_locked(const Slot& spared) {
  for (const bool fresh_too : {false, true})
    if (entries_held_locked() > max_entries_) shed_locked(spared, fresh_too);
}

void Directories::shed_locked(const Slot& spared, bool fresh_too) {
  const std::int64_t now = clock_.monotonic_ns();
  for (auto it = slots_.begin(); it != slots_.end() && entries_held_locked() > max_entries_;) {
    Slot& slot = it->second;
    if (&slot == &spared ||
        (slot.coming && (fresh_too ? slot.coming->is_asking() : slot.coming->serves(now)))) {
      ++it;
      continue;
    }
    const bool partial = std::exchange(slot.coming, nullptr) != nullptr;
    const bool stale = slot.listing && slot.listing->fresh_until_ns <= now;
    if (slot.listing && (stale || fresh_too)) {
      entries_held_ -= slot.listing->entries.size();
      slot.listing = nullptr;
    }
    const bool empty = !slot.listing && !slot.failed && (partial || stale || fresh_too);
    it = empty ? slots_.erase(it) : std::next(it);
  }
}

}  // namespace rangecache::cache
