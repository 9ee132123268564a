#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "cache/directories.h"
#include "cache/freshness_judge.h"
#include "cache/freshness_policy.h"
#include "cache/known_names.h"
#include "cache/snapshot.h"
#include "cache/version.h"

namespace rangecache::cache {

/// The key of the directory that the object is in.
std::string directory_of(std::string_view key);

/// What a name turned out to be.
struct Found {
  bool is_directory = false;
  ObjectAddress address;
  SnapshotPtr file;               ///< null for directories
  std::int64_t modified_s = -1;   ///< of a directory, as it was listed; -1: unknown
  std::int64_t valid_for_ms = 0;  ///< how long this may be believed unasked
};

/// Which objects exist, which version of each is current, and for how long that may be believed:
/// the freshness policy in action. Thread-safe; callbacks come without any lock held, possibly
/// from within the call.
class Catalog {
 public:
  Catalog(const VersionContext& context, const Clock& clock, FreshnessPolicies policies,
          Metrics& metrics);

  /// The object's current version, asked for only if what is known is no longer fresh. An object
  /// never seen before costs one GET, whose bytes are kept.
  void open(ObjectAddress address, Callback<SnapshotPtr> done);
  /// Whether an open may still get `snapshot`: asks only if it is no longer fresh. kStale: the
  /// object has another version now.
  void confirm(const SnapshotPtr& snapshot, Callback<void> done);
  /// `name` in the directory: by its listing where there is one, by asking for the name itself
  /// where there is none (or where the listing may be incomplete).
  void lookup(ObjectAddress directory, std::string name, Callback<Found> done);
  void list(ObjectAddress directory, Callback<ListingPtr> done);
  /// The same, once the first page of it is there.
  void open_directory(ObjectAddress directory, Callback<ListingPagesPtr> done);
  /// Whether what is read now may serve a later open unasked; false where each open asks, and
  /// where nothing is fetched.
  bool keeps_what_is_read(const Origin& origin) const {
    const FreshnessPolicy::Kind kind = judge_.policies().of(origin).kind;
    return kind != FreshnessPolicy::Kind::kAlways && kind != FreshnessPolicy::Kind::kOffline;
  }
  /// The last listing, however old; null: none yet.
  ListingPtr last_listing(const ObjectAddress& directory) {
    return directories_.cached(*directory.origin, directory.key);
  }
  /// What `entry` of a listing is, if that can be told without asking the origin.
  std::optional<Found> known(const ObjectAddress& directory, const ListEntry& entry,
                             std::int64_t listing_fresh_until_ns);

  /// Fetches ahead all of a small object that was listed.
  void fetch_whole(const SnapshotPtr& snapshot);

  /// Takes note of what an origin's answer says; returns the version that it speaks of.
  VersionPtr learn(const ObjectAddress& address, const ObjectAttributes& attributes);
  /// The origin no longer has this version: the next open asks.
  void changed(const VersionPtr& version);
  /// Calls `listener` whenever an object turns out to have changed. Set before the first read.
  void on_changed(std::function<void(const ObjectAddress&)> listener);

  /// Enters a version that an earlier run has left, or what later records of that run say of it.
  VersionPtr load(std::shared_ptr<Origin> origin, VersionRecord record);
  /// Undoes load().
  void unload(const VersionPtr& version);
  /// Enters a version whose files were found on the disk. It is current only if nothing else is
  /// known of its object, and is asked for before its first use.
  VersionPtr found(std::shared_ptr<Origin> origin, VersionRecord record);
  std::vector<VersionPtr> versions() const;
  VersionPtr find_version(const VersionId& id) const;
  /// The current version of an object if one is known; never asks.
  VersionPtr current(const ObjectAddress& address) const;

  /// What is known under a URL prefix is asked for again at its next use.
  struct Refreshed {
    std::uint64_t objects = 0;
    std::uint64_t listings = 0;
  };
  Refreshed refresh(std::string_view url_prefix);

  /// What NamesFile keeps, and brings back before the first use.
  KnownNames known_names() const;
  void load(KnownNames names, const FindOrigin& find_origin);
  /// Changes when known_names() does.
  std::uint64_t names_serial() const { return serial_ + directories_.serial(); }

  const Clock& clock() const { return clock_; }

 private:
  struct Object {
    SnapshotPtr snapshot;                ///< what an open gets; null: nothing is known
    std::int64_t negative_until_ns = 0;  ///< the origin said that there is none
    bool asking = false;
    bool listed = false;  ///< by its directory, which can tell of it again
    std::vector<Callback<SnapshotPtr>> waiting;
  };
  static constexpr std::size_t kMinSweep = 16'384;  ///< objects
  static std::string object_key(const Origin& origin, std::string_view key);
  void revalidate_meanwhile(const ObjectAddress& address, const VersionPtr& version);
  /// The snapshot's version; one that a listing named is entered now. Null: none is known.
  VersionPtr bind_as_listed(const SnapshotPtr& snapshot);
  VersionPtr version_locked(const std::shared_ptr<Origin>& origin, VersionRecord record,
                            bool no_store) REQUIRES(mu_);
  /// Now and then drops what nobody uses and a listing, or the origin, can tell again: what is kept
  /// of a tree that was walked follows what the kernel keeps of it.
  void sweep_locked() REQUIRES(mu_);
  void revalidate(ObjectAddress address, VersionPtr known, Callback<SnapshotPtr> done);
  void answer(const ObjectAddress& address, Result<SnapshotPtr> result);
  std::optional<Found> known_by_validator(Found found, const ListEntry& entry, SnapshotPtr current);
  std::optional<Found> known_by_size(Found found, const ListEntry& entry, SnapshotPtr current);
  bool enter_listed(const SnapshotPtr& snapshot);
  void probe(ObjectAddress directory, std::string name, Callback<Found> done);
  Result<ListingPtr> listed_before(const ObjectAddress& directory);
  Result<SnapshotPtr> settle(const ObjectAddress& address, const VersionPtr& known,
                             Result<StatResult> stat);
  void set_current(const VersionPtr& version, const Freshness& freshness);
  /// The version that `attributes` tell of is the current one; and whether it replaced another.
  std::pair<VersionPtr, bool> take_in(const ObjectAddress& address,
                                      const ObjectAttributes& attributes);
  void forget_listing_of(const ObjectAddress& object);

  const VersionContext& context_;
  const Clock& clock_;
  const FreshnessJudge judge_;
  Counter& revalidations_;
  Counter& stale_served_;
  Gauge& version_count_;
  Gauge& object_count_;
  Directories directories_;
  std::function<void(const ObjectAddress&)> listener_;
  std::atomic<std::uint64_t> serial_{0};

  mutable Mutex mu_;
  std::unordered_map<std::string, Object> objects_ GUARDED_BY(mu_);
  std::size_t sweep_at_ GUARDED_BY(mu_) = kMinSweep;
  std::unordered_map<VersionId, VersionPtr> versions_ GUARDED_BY(mu_);
  std::uint64_t private_serial_ GUARDED_BY(mu_) = 0;
};

}  // namespace rangecache::cache
