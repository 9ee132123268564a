#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "cache/directory_listing.h"
#include "cache/freshness_policy.h"
#include "cache/listing_pages.h"

namespace rangecache::cache {

/// Listings, fetched once however many ask, kept while they are fresh. Thread-safe.
class Directories {
 public:
  static constexpr std::size_t kMaxEntries = 2'000'000;

  /// Of all listings together `max_entries` are held, besides the latest and what is on its way.
  Directories(const Clock& clock, const FreshnessPolicies& policies,
              std::size_t max_entries = kMaxEntries)
      : clock_(clock), policies_(policies), max_entries_(max_entries) {}

  /// Callback possibly from within the call (when it is cached), else on the origin's thread.
  /// A directory that cannot be listed gives the origin's error, also remembered for a short time.
  /// This one gives the listing once its first page is there.
  void open(const std::shared_ptr<Origin>& origin, std::string dir_key,
            Callback<ListingPagesPtr> done);
  /// This one all of it.
  void list(const std::shared_ptr<Origin>& origin, std::string dir_key, Callback<ListingPtr> done);
  /// What is known, however old, or nullptr. Never asks.
  ListingPtr cached(const Origin& origin, std::string_view dir_key);
  /// The next one asks the origin.
  void invalidate(const Origin& origin, std::string_view dir_key);
  /// The same for all whose URL begins with `url_prefix`; how many there were.
  std::uint64_t invalidate_below(std::string_view url_prefix);

  struct Known {
    std::shared_ptr<Origin> origin;
    std::string dir_key;
    ListingPtr listing;
  };
  std::vector<Known> all() const;
  /// Enters a listing of an earlier run, unless there is one.
  void load(Known known);
  std::uint64_t serial() const { return serial_; }  ///< changes with every new listing
  std::size_t entries_held() const EXCLUDES(mu_);

 private:
  struct Slot {
    std::shared_ptr<Origin> origin;
    std::string dir_key;
    ListingPtr listing;    ///< the last one; null: none yet
    bool invalid = false;  ///< it is not to be believed, whatever its time
    Error error;           ///< of the last try, while `failed`
    bool failed = false;
    std::int64_t failed_until_ns = 0;
    ListingPagesPtr coming;  ///< the next one, as far as it was wanted; null: none is under way
  };
  static std::string slot_key(const Origin& origin, std::string_view dir_key);
  /// What can be had without asking, or the listing that is to be asked; else the error of the last
  /// try.
  struct Begun {
    ListingPtr known;
    ListingPagesPtr coming;
    Error failure;
  };
  Begun begin(const std::shared_ptr<Origin>& origin, const std::string& dir_key) EXCLUDES(mu_);
  ListingPagesPtr new_pages(const std::shared_ptr<Origin>& origin, const std::string& dir_key);
  void over(const std::shared_ptr<Origin>& origin, const std::string& dir_key,
            const ListingPages& pages, const Result<ListingPtr>& result) EXCLUDES(mu_);
  /// The last listing, if it may serve now that the origin cannot be asked; or null.
  ListingPtr in_need(const Origin& origin, const std::string& dir_key) EXCLUDES(mu_);
  Slot& slot_locked(const std::shared_ptr<Origin>& origin, const std::string& dir_key)
      REQUIRES(mu_);
  bool serves_in_need(const Slot& slot) const REQUIRES(mu_);
  std::size_t entries_held_locked() const REQUIRES(mu_) { return entries_held_ + *coming_entries_; }
  /// Drops what is past its time if there is too much, and then what is not.
  void shed_locked(const Slot& spared) REQUIRES(mu_);
  void shed_locked(const Slot& spared, bool fresh_too) REQUIRES(mu_);

  const Clock& clock_;
  const FreshnessPolicies& policies_;
  const std::size_t max_entries_;
  /// Of listings on their way. Shared: who reads an old one may outlast its slot.
  const std::shared_ptr<std::atomic<std::size_t>> coming_entries_ =
      std::make_shared<std::atomic<std::size_t>>(0);
  mutable Mutex mu_;
  std::unordered_map<std::string, Slot> slots_ GUARDED_BY(mu_);
  std::atomic<std::uint64_t> serial_{0};
  std::size_t entries_held_ GUARDED_BY(mu_) = 0;
};

}  // namespace rangecache::cache
