#include "cache/catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <utility>

#include "base/log.h"
#include "cache/storer.h"

namespace rangecache::cache {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr std::int64_t kNegative_ns = 5 * kNsPerSecond;

/// An HTML index shows whole minutes, in whatever time zone the server thinks in (whole quarters
/// of an hour from UTC): two times that agree by this rule may be the same.
bool same_listed_time(std::int64_t a, std::int64_t b) {
  const std::int64_t difference = std::llabs(a - b) % 900;
  return std::min(difference, 900 - difference) < 60;
}

}  // namespace

std::string directory_of(std::string_view key) {
  return std::string(key.substr(0, key.rfind('/') + 1));
}

Catalog::Catalog(const VersionContext& context, const Clock& clock, FreshnessPolicies policies,
                 Metrics& metrics)
    : context_(context),
      clock_(clock),
      judge_(clock, std::move(policies)),
      revalidations_(
          metrics.counter("rangecache_revalidations_total",
                          "Times that an origin was asked whether a version is current")),
      stale_served_(metrics.counter("rangecache_stale_served_total",
                                    "Opens that got a version past its time, as the policy or the "
                                    "response allows")),
      version_count_(metrics.gauge("rangecache_versions", "Versions of objects known")),
      object_count_(metrics.gauge("rangecache_objects",
                                  "Objects of which something is known, be it that there is none")),
      directories_(clock, judge_.policies()) {}

void Catalog::on_changed(std::function<void(const ObjectAddress&)> listener) {
  listener_ = std::move(listener);
}

std::string Catalog::object_key(const Origin& origin, std::string_view key) {
  std::string text = origin.id();
  text += '\n';
  text += key;
  return text;
}

// --- what origins say ------------------------------------------------------------------------

void Catalog::revalidate_meanwhile(const ObjectAddress& address, const VersionPtr& version) {
  stale_served_.add();
  revalidate(address, version, [](const Result<SnapshotPtr>&) {});
}

void Catalog::set_current(const VersionPtr& version, const Freshness& freshness) {
  version->set_heard(judge_.heard_now(*version->origin(), freshness));
  context_.storer.note(version);
  ++serial_;
}

VersionPtr Catalog::version_locked(const std::shared_ptr<Origin>& origin, VersionRecord record,
                                   bool no_store) {
  VersionPtr& slot = versions_[record.id];
  if (!slot) {
    slot = std::make_shared<Version>(context_, origin, std::move(record), no_store);
    version_count_.set(static_cast<std::int64_t>(versions_.size()));
  }
  return slot;
}

VersionPtr Catalog::learn(const ObjectAddress& address, const ObjectAttributes& attributes) {
  const auto [version, replaced] = take_in(address, attributes);
  // Or it would say the old version again.
  if (replaced) forget_listing_of(address);
  return version;
}

std::pair<VersionPtr, bool> Catalog::take_in(const ObjectAddress& address,
                                             const ObjectAttributes& attributes) {
  VersionRecord record;
  record.origin_id = address.origin->id();
  record.key = address.key;
  record.validator = attributes.validator;
  record.size = *attributes.size;
  record.modified_s = attributes.modified_s.value_or(-1);

  VersionPtr version, replaced;
  {
    MutexLock lock(mu_);
    if (record.validator.kind == Validator::Kind::kNone) {
      record.validator = {Validator::Kind::kPrivate,
                          fmt::format("{}.{}", clock_.unix_s(), ++private_serial_)};
    }
    record.id = VersionId::of(record.origin_id, record.key, record.validator, record.size);
    version = version_locked(address.origin, std::move(record), attributes.freshness.no_store);
    Object& object = objects_[object_key(*address.origin, address.key)];
    object.negative_until_ns = 0;
    const VersionPtr before = object.snapshot ? object.snapshot->version() : nullptr;
    if (before != version) {
      // An unbound snapshot that was promised this size is about to be bound to this very version:
      // it stays the current one.
      const bool awaits_it = object.snapshot && !before &&
                             object.snapshot->awaits(version->validator(), version->size());
      if (!awaits_it) object.snapshot = std::make_shared<Snapshot>(*this, version);
      replaced = before;
    }
    sweep_locked();
  }
  if (replaced) {
    auto heard = replaced->heard();
    heard.current = false;
    replaced->set_heard(heard);
    context_.storer.note(replaced);
    log_info("{} has changed: {} replaces {}", version->url(), version->validator().value,
             replaced->validator().value);
    if (listener_) listener_(address);
  }
  set_current(version, attributes.freshness);
  return {version, replaced != nullptr};
}

void Catalog::changed(const VersionPtr& version) {
  {
    MutexLock lock(mu_);
    const auto found = objects_.find(object_key(*version->origin(), version->key()));
    if (found != objects_.end() && found->second.snapshot &&
        found->second.snapshot->version() == version) {
      found->second.snapshot = nullptr;
    }
  }
  auto heard = version->heard();
  heard.current = false;
  version->set_heard(heard);
  context_.storer.note(version);
  forget_listing_of({version->origin(), version->key()});
  log_info("{} has changed at its origin", version->url());
  if (listener_) listener_({version->origin(), version->key()});
}

void Catalog::forget_listing_of(const ObjectAddress& object) {
  directories_.invalidate(*object.origin, directory_of(object.key));
}

// --- opening ----------------------------------------------------------------------------------

void Catalog::open(ObjectAddress address, Callback<SnapshotPtr> done) {
  SnapshotPtr snapshot;
  {
    MutexLock lock(mu_);
    Object& object = objects_[object_key(*address.origin, address.key)];
    if (object.negative_until_ns > clock_.monotonic_ns()) {
      snapshot = nullptr;
    } else {
      snapshot = object.snapshot;
      if (!snapshot && !judge_.is_offline(*address.origin)) {
        snapshot = std::make_shared<Snapshot>(*this, address, Snapshot::Listed{});
      }
    }
  }
  const std::string url = address.origin->url_of(address.key);
  if (!snapshot) {
    if (judge_.is_offline(*address.origin))
      return done(
          Error(ErrorCode::kUnreachable, url + " is not cached, and the policy is offline"));
    return done(Error(ErrorCode::kNotFound, url));
  }
  const VersionPtr version = bind_as_listed(snapshot);
  if (version && judge_.fresh(*version)) return done(std::move(snapshot));
  if (version && judge_.usable_meanwhile(*version)) {
    revalidate_meanwhile(address, version);
    return done(std::move(snapshot));
  }
  if (version) return revalidate(std::move(address), version, std::move(done));
  snapshot->bind([this, snapshot, address, done = std::move(done)](Result<void> bound) mutable {
    if (!bound) {
      if (bound.error().code == ErrorCode::kNotFound) {
        MutexLock lock(mu_);
        objects_[object_key(*address.origin, address.key)].negative_until_ns =
            clock_.monotonic_ns() + kNegative_ns;
        sweep_locked();
      }
      return done(bound.error());
    }
    done(std::move(snapshot));
  });
}

VersionPtr Catalog::bind_as_listed(const SnapshotPtr& snapshot) {
  if (VersionPtr version = snapshot->version()) return version;
  const Snapshot::Listed& listed = snapshot->listed();
  if (listed.validator.kind == Validator::Kind::kNone || !listed.size) return nullptr;
  const ObjectAddress& address = snapshot->address();
  VersionRecord record;
  record.origin_id = address.origin->id();
  record.key = address.key;
  record.validator = listed.validator;
  record.size = *listed.size;
  record.modified_s = listed.modified_s;
  record.id = VersionId::of(record.origin_id, record.key, record.validator, record.size);
  VersionPtr version;
  {
    MutexLock lock(mu_);
    version = version_locked(address.origin, std::move(record), /*no_store=*/false);
  }
  const auto [listed_s, until_s] = snapshot->believed();
  auto heard = version->heard();
  if (!heard.current || heard.fresh_until_s < until_s) {
    heard.validated_s = listed_s;
    heard.fresh_until_s = until_s;
    heard.current = true;
    version->set_heard(heard);
    context_.storer.note(version);
  }
  snapshot->bound(version);
  return version;
}

void Catalog::fetch_whole(const SnapshotPtr& snapshot) {
  if (const VersionPtr version = bind_as_listed(snapshot)) {
    if (version->size() > 0) version->prefetch({0, version->size()});
  } else {
    snapshot->fetch_whole();
  }
}

void Catalog::confirm(const SnapshotPtr& snapshot, Callback<void> done) {
  const ObjectAddress& address = snapshot->address();
  VersionPtr version = snapshot->version();
  const auto stale = [url = address.origin->url_of(address.key)] {
    return Error(ErrorCode::kStale, url);
  };
  if (!version) {
    // Listed, never read: its first read will tell whether the listing was still true.
    bool replaced = false;
    {
      MutexLock lock(mu_);
      const auto found = objects_.find(object_key(*address.origin, address.key));
      replaced =
          found != objects_.end() && found->second.snapshot && found->second.snapshot != snapshot;
    }
    if (replaced) return done(stale());
    version = bind_as_listed(snapshot);
    if (!version) return done({});
  }
  if (judge_.fresh(*version)) return done({});
  if (judge_.usable_meanwhile(*version)) {
    revalidate_meanwhile(address, version);
    return done({});
  }
  revalidate(address, version,
             [version, stale, done = std::move(done)](Result<SnapshotPtr> now) mutable {
               if (!now) return done(now.error());
               if ((*now)->version() != version) return done(stale());
               done({});
             });
}

void Catalog::revalidate(ObjectAddress address, VersionPtr known, Callback<SnapshotPtr> done) {
  {
    MutexLock lock(mu_);
    Object& object = objects_[object_key(*address.origin, address.key)];
    object.waiting.push_back(std::move(done));
    if (std::exchange(object.asking, true)) return;  // one question for all who ask (ST15)
  }
  revalidations_.add();
  const Validator validator = known ? known->validator() : Validator{};
  Origin& origin = *address.origin;
  std::string key = address.key;
  origin.stat(std::move(key), validator,
              [this, address = std::move(address), known](Result<StatResult> stat) {
                answer(address, settle(address, known, std::move(stat)));
              });
}

Result<SnapshotPtr> Catalog::settle(const ObjectAddress& address, const VersionPtr& known,
                                    Result<StatResult> stat) {
  const std::string url = address.origin->url_of(address.key);
  if (!stat) {
    const Error& error = stat.error();
    if (is_transient(error.code) && known) {
      if (judge_.usable_in_need(*known)) {
        stale_served_.add();
        log_debug("{}: served although it may be stale: {}", url, error.message());
        return std::make_shared<Snapshot>(*this, known);
      }
    }
    if (error.code == ErrorCode::kNotFound && known) changed(known);
    return error;
  }
  if (stat->is_directory) return Error(ErrorCode::kIsDirectory, url);
  VersionPtr version;
  if (stat->not_modified && known) {
    version = known;
    set_current(known, stat->attributes.freshness);
  } else if (!stat->attributes.size) {
    return Error(ErrorCode::kUnsupported, url + ": the server does not tell the length");
  } else if (stat->attributes.validator.kind == Validator::Kind::kNone) {
    // Nothing ties the bytes to come to this answer: the first GET will say what it brings.
    auto snapshot = std::make_shared<Snapshot>(
        *this, address,
        Snapshot::Listed{stat->attributes.size, stat->attributes.modified_s.value_or(-1), {}});
    return snapshot;
  } else {
    version = learn(address, stat->attributes);
  }
  MutexLock lock(mu_);
  Object& object = objects_[object_key(*address.origin, address.key)];
  if (!object.snapshot || object.snapshot->version() != version)
    object.snapshot = std::make_shared<Snapshot>(*this, version);
  return object.snapshot;
}

void Catalog::answer(const ObjectAddress& address, Result<SnapshotPtr> result) {
  std::vector<Callback<SnapshotPtr>> waiting;
  {
    MutexLock lock(mu_);
    Object& object = objects_[object_key(*address.origin, address.key)];
    object.asking = false;
    waiting.swap(object.waiting);
    if (!result && result.error().code == ErrorCode::kNotFound) {
      object.negative_until_ns = clock_.monotonic_ns() + kNegative_ns;
      ++serial_;
    }
    if (result && !object.snapshot) object.snapshot = *result;
    sweep_locked();
  }
  for (auto& done : waiting) done(result);
}

// --- directories ------------------------------------------------------------------------------

Result<ListingPtr> Catalog::listed_before(const ObjectAddress& directory) {
  if (auto listing = directories_.cached(*directory.origin, directory.key)) return listing;
  return Error(ErrorCode::kUnreachable, directory.origin->url_of(directory.key) +
                                            " was never listed, and the policy is offline");
}

void Catalog::list(ObjectAddress directory, Callback<ListingPtr> done) {
  if (judge_.is_offline(*directory.origin)) return done(listed_before(directory));
  directories_.list(directory.origin, std::move(directory.key), std::move(done));
}

void Catalog::open_directory(ObjectAddress directory, Callback<ListingPagesPtr> done) {
  if (judge_.is_offline(*directory.origin)) {
    auto listing = listed_before(directory);
    if (!listing) return done(std::move(listing.error()));
    return done(std::make_shared<ListingPages>(*std::move(listing)));
  }
  directories_.open(directory.origin, std::move(directory.key), std::move(done));
}

std::optional<Found> Catalog::known(const ObjectAddress& directory, const ListEntry& entry,
                                    std::int64_t listing_fresh_until_ns) {
  const auto listing_ms =
      std::max<std::int64_t>(0, (listing_fresh_until_ns - clock_.monotonic_ns()) / 1'000'000);
  Found found;
  found.is_directory = entry.is_directory;
  found.address = {directory.origin,
                   directory.origin->child_key(directory.key, entry.name, entry.is_directory)};
  found.valid_for_ms = listing_ms;
  found.modified_s = entry.modified_s.value_or(-1);
  if (entry.is_directory) return found;

  SnapshotPtr current;
  {
    MutexLock lock(mu_);
    const auto it = objects_.find(object_key(*directory.origin, found.address.key));
    if (it != objects_.end()) current = it->second.snapshot;
  }
  const bool names_version = entry.validator.kind != Validator::Kind::kNone && entry.size;
  return names_version ? known_by_validator(std::move(found), entry, std::move(current))
                       : known_by_size(std::move(found), entry, std::move(current));
}

/// A listing that names versions says that they are current, for as long as it counts itself.
std::optional<Found> Catalog::known_by_validator(Found found, const ListEntry& entry,
                                                 SnapshotPtr current) {
  const Origin& origin = *found.address.origin;
  const bool listing_counts = found.valid_for_ms > 0;
  const std::int64_t now = clock_.unix_s();
  const Freshness listed{.lifetime_s = found.valid_for_ms / 1000};
  const std::int64_t until_s =
      listing_counts ? now + judge_.policies().of(origin).lifetime_s(listed) : now;
  const VersionPtr version = current ? current->version() : nullptr;
  const bool differs =
      version && (version->validator() != entry.validator || version->size() != *entry.size);
  if (differs && !listing_counts) {
    // What was heard of the object itself may be newer than an old listing.
  } else if (differs) {
    take_in(found.address, {entry.size, entry.validator, entry.modified_s, listed});
    MutexLock lock(mu_);
    current = objects_[object_key(origin, found.address.key)].snapshot;
  } else if (version) {
    auto heard = version->heard();
    if (heard.current && heard.fresh_until_s < until_s) {
      heard.fresh_until_s = until_s;
      version->set_heard(heard);
    }
  } else if (current && current->awaits(entry.validator, *entry.size) &&
             current->listed().validator == entry.validator) {
    current->believe(now, until_s);
  } else {
    // Most of what is listed is never opened: it gets a version when it is.
    current = std::make_shared<Snapshot>(
        *this, found.address,
        Snapshot::Listed{entry.size, entry.modified_s.value_or(-1), entry.validator});
    current->believe(now, until_s);
    if (!enter_listed(current)) return std::nullopt;
  }
  found.file = std::move(current);
  return found;
}

/// An index page shows a size and a rounded time at most: what the object itself has said counts.
std::optional<Found> Catalog::known_by_size(Found found, const ListEntry& entry,
                                            SnapshotPtr current) {
  const bool agrees = current && (!entry.size || *entry.size == current->size()) &&
                      (!entry.modified_s || current->modified_s() < 0 ||
                       same_listed_time(*entry.modified_s, current->modified_s()));
  if (const VersionPtr version = current ? current->version() : nullptr) {
    if (!agrees || !judge_.fresh(*version)) return std::nullopt;
    found.file = std::move(current);
    found.valid_for_ms = std::min(found.valid_for_ms, judge_.valid_for_ms(*version));
    return found;
  }
  if (!entry.size) return std::nullopt;
  if (!agrees) {
    current = std::make_shared<Snapshot>(
        *this, found.address, Snapshot::Listed{entry.size, entry.modified_s.value_or(-1), {}});
    if (!enter_listed(current)) return std::nullopt;
  }
  found.file = std::move(current);
  // Once it is read it has a version, which nobody may open unasked.
  if (judge_.policies().of(*found.address.origin).kind == FreshnessPolicy::Kind::kAlways)
    found.valid_for_ms = 0;
  return found;
}

/// False: a version of it was learnt meanwhile.
bool Catalog::enter_listed(const SnapshotPtr& snapshot) {
  const ObjectAddress& address = snapshot->address();
  MutexLock lock(mu_);
  Object& object = objects_[object_key(*address.origin, address.key)];
  if (object.snapshot && object.snapshot->version()) return false;
  object.snapshot = snapshot;
  object.listed = true;
  sweep_locked();
  return true;
}

void Catalog::lookup(ObjectAddress directory, std::string name, Callback<Found> done) {
  open_directory(directory, [this, directory, name = std::move(name),
                             done = std::move(done)](Result<ListingPagesPtr> pages) mutable {
    if (!pages) {
      // No index page here: names can still be asked for one by one.
      if (is_transient(pages.error().code) && !judge_.is_offline(*directory.origin))
        return done(pages.error());
      return probe(std::move(directory), std::move(name), std::move(done));
    }
    const ListingPages::Looked looked = (*pages)->find(name);
    if (looked.entry) {
      if (auto found = known(directory, *looked.entry, looked.fresh_until_ns))
        return done(*std::move(found));
    } else if (looked.complete) {
      return done(Error(ErrorCode::kNotFound, name));
    }
    // Listed without a size, past its time, on a page that nobody wanted yet, or hidden from the
    // index (dot files): ask for it.
    probe(std::move(directory), std::move(name), std::move(done));
  });
}

void Catalog::probe(ObjectAddress directory, std::string name, Callback<Found> done) {
  ObjectAddress address{directory.origin, directory.origin->child_key(directory.key, name, false)};
  SnapshotPtr snapshot;
  bool absent = false;
  {
    MutexLock lock(mu_);
    const auto it = objects_.find(object_key(*address.origin, address.key));
    if (it != objects_.end()) {
      snapshot = it->second.snapshot;
      absent = it->second.negative_until_ns > clock_.monotonic_ns();
    }
  }
  if (absent) return done(Error(ErrorCode::kNotFound, name));
  VersionPtr version = snapshot ? bind_as_listed(snapshot) : nullptr;
  if (version && judge_.fresh(*version)) {
    return done(Found{false, std::move(address), snapshot, -1, judge_.valid_for_ms(*version)});
  }
  if (judge_.is_offline(*address.origin)) {
    return done(Error(ErrorCode::kUnreachable, address.origin->url_of(address.key) +
                                                   " is not cached, and the policy is offline"));
  }
  revalidate(
      address, version,
      [this, address, directory, name, done = std::move(done)](Result<SnapshotPtr> result) mutable {
        if (result) {
          const VersionPtr bound = (*result)->version();
          return done(Found{false, address, *result, -1, bound ? judge_.valid_for_ms(*bound) : 0});
        }
        if (result.error().code != ErrorCode::kIsDirectory) return done(result.error());
        done(Found{true,
                   {directory.origin, directory.origin->child_key(directory.key, name, true)},
                   nullptr,
                   -1,
                   judge_.policies().of(*directory.origin).listing_lifetime_s({}) * 1000});
      });
}

void Catalog::sweep_locked() {
  if (objects_.size() >= sweep_at_) {
    const std::int64_t now = clock_.monotonic_ns();
    std::erase_if(objects_, [now](const auto& item) {
      const Object& object = item.second;
      const bool unused = object.snapshot ? object.listed && object.snapshot.use_count() == 1 &&
                                                !object.snapshot->version()
                                          : object.negative_until_ns <= now;
      return unused && !object.asking;
    });
    sweep_at_ = std::max(kMinSweep, 2 * objects_.size());
  }
  object_count_.set(static_cast<std::int64_t>(objects_.size()));
}

// --- the registry -----------------------------------------------------------------------------

VersionPtr Catalog::load(std::shared_ptr<Origin> origin, VersionRecord record) {
  const Version::Heard heard = Version::heard_in(record);
  std::string key = object_key(*origin, record.key);
  MutexLock lock(mu_);
  VersionPtr version = version_locked(origin, std::move(record), /*no_store=*/false);
  version->set_heard(heard);
  if (heard.current) {
    objects_[std::move(key)].snapshot = std::make_shared<Snapshot>(*this, version);
  } else if (const auto object = objects_.find(key);
             object != objects_.end() && object->second.snapshot &&
             object->second.snapshot->version() == version) {
    objects_.erase(object);
  }
  sweep_locked();
  return version;
}

void Catalog::unload(const VersionPtr& version) {
  MutexLock lock(mu_);
  const auto object = objects_.find(object_key(*version->origin(), version->key()));
  if (object != objects_.end() && object->second.snapshot &&
      object->second.snapshot->version() == version) {
    objects_.erase(object);
  }
  versions_.erase(version->id());
  version_count_.set(static_cast<std::int64_t>(versions_.size()));
}

VersionPtr Catalog::found(std::shared_ptr<Origin> origin, VersionRecord record) {
  record.fresh_until_s = 0;
  std::string key = object_key(*origin, record.key);
  MutexLock lock(mu_);
  Object& object = objects_[std::move(key)];
  record.current = !object.snapshot && !object.asking;
  const bool current = record.current;
  VersionPtr version = version_locked(origin, std::move(record), /*no_store=*/false);
  if (current) object.snapshot = std::make_shared<Snapshot>(*this, version);
  return version;
}

std::vector<VersionPtr> Catalog::versions() const {
  MutexLock lock(mu_);
  std::vector<VersionPtr> all;
  all.reserve(versions_.size());
  for (const auto& [id, version] : versions_) all.push_back(version);
  return all;
}

VersionPtr Catalog::find_version(const VersionId& id) const {
  MutexLock lock(mu_);
  const auto found = versions_.find(id);
  return found == versions_.end() ? nullptr : found->second;
}

VersionPtr Catalog::current(const ObjectAddress& address) const {
  MutexLock lock(mu_);
  const auto found = objects_.find(object_key(*address.origin, address.key));
  if (found == objects_.end() || !found->second.snapshot) return nullptr;
  return found->second.snapshot->version();
}

// --- asking again -----------------------------------------------------------------------------

Catalog::Refreshed Catalog::refresh(std::string_view url_prefix) {
  Refreshed refreshed;
  refreshed.listings = directories_.invalidate_below(url_prefix);
  std::vector<VersionPtr> versions;
  std::set<std::pair<std::shared_ptr<Origin>, std::string>> stale_listings;
  {
    MutexLock lock(mu_);
    for (auto& [key, object] : objects_) {
      object.negative_until_ns = 0;
      if (!object.snapshot) continue;
      const ObjectAddress& address = object.snapshot->address();
      if (!std::string_view(address.origin->url_of(address.key)).starts_with(url_prefix)) continue;
      stale_listings.insert({address.origin, directory_of(address.key)});
      if (const VersionPtr version = object.snapshot->version())
        versions.push_back(version);
      else
        object.snapshot->believe(0, 0);  // a listing's promise
    }
  }
  // A listing that names versions would say that the old ones are current.
  for (const auto& [origin, dir_key] : stale_listings) directories_.invalidate(*origin, dir_key);
  for (const VersionPtr& version : versions) {
    auto heard = version->heard();
    heard.fresh_until_s = 0;
    version->set_heard(heard);
    context_.storer.note(version);
  }
  refreshed.objects = versions.size();
  return refreshed;
}

}  // namespace rangecache::cache
