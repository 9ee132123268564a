#include "cache/catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/log.h"
#include "cache/storer.h"

namespace rangecache::cache {
namespace {

constexpr std::int64_t kNegative_ns = 5'000'000'000;
constexpr std::int64_t kMaxValid_ms = 3'600'000;
/// An HTML index shows whole minutes, in whatever time zone the server thinks in (whole quarters
/// of an hour from UTC): two times that agree by this rule may be the same.
bool same_listed_time(std::int64_t a, std::int64_t b) {
  const std::int64_t difference = std::llabs(a - b) % 900;
  return std::min(difference, 900 - difference) < 60;
}

}  // namespace

Catalog::Catalog(const VersionContext& context, const Clock& clock, FreshnessPolicy policy,
                 Metrics& metrics)
    : context_(context),
      clock_(clock),
      policy_(policy),
      revalidations_(
          metrics.counter("rangecache_revalidations_total",
                          "Times that an origin was asked whether a version is current")),
      version_count_(metrics.gauge("rangecache_versions", "Versions of objects known")),
      directories_(clock, policy) {}

void Catalog::on_changed(std::function<void(const ObjectAddress&)> listener) {
  listener_ = std::move(listener);
}

std::string Catalog::object_key(const Origin& origin, std::string_view key) {
  std::string text = origin.id();
  text += '\n';
  text += key;
  return text;
}

// --- freshness --------------------------------------------------------------------------------

bool Catalog::fresh(const Version& version) const {
  if (policy_.kind == FreshnessPolicy::Kind::kOffline ||
      policy_.kind == FreshnessPolicy::Kind::kImmutable) {
    return true;
  }
  const Version::Heard heard = version.heard();
  return heard.current && clock_.unix_s() < heard.fresh_until_s;
}

std::int64_t Catalog::valid_for_ms(const Version& version) const {
  const std::int64_t left_s = version.heard().fresh_until_s - clock_.unix_s();
  return std::clamp<std::int64_t>(left_s * 1000, 0, kMaxValid_ms);
}

void Catalog::set_current(const VersionPtr& version, const Freshness& freshness) {
  const std::int64_t now = clock_.unix_s();
  version->set_heard({.validated_s = now,
                      .fresh_until_s = now + policy_.lifetime_s(freshness),
                      .must_revalidate = freshness.must_revalidate,
                      .current = true});
  context_.storer.note(version);
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
      const bool awaits_it = object.snapshot && !before && object.snapshot->awaits(version->size());
      if (!awaits_it) object.snapshot = std::make_shared<Snapshot>(*this, version);
      replaced = before;
    }
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
  const auto slash = object.key.rfind('/');
  directories_.invalidate(*object.origin,
                          slash == std::string::npos ? "" : object.key.substr(0, slash + 1));
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
      if (!snapshot && policy_.kind != FreshnessPolicy::Kind::kOffline) {
        snapshot = std::make_shared<Snapshot>(*this, address, std::nullopt, -1);
      }
    }
  }
  const std::string url = address.origin->url_of(address.key);
  if (!snapshot) {
    if (policy_.kind == FreshnessPolicy::Kind::kOffline)
      return done(
          Error(ErrorCode::kUnreachable, url + " is not cached, and the policy is offline"));
    return done(Error(ErrorCode::kNotFound, url));
  }
  const VersionPtr version = snapshot->version();
  if (version && fresh(*version)) return done(std::move(snapshot));
  if (version) return revalidate(std::move(address), version, std::move(done));
  snapshot->bind([this, snapshot, address, done = std::move(done)](Result<void> bound) mutable {
    if (!bound) {
      if (bound.error().code == ErrorCode::kNotFound) {
        MutexLock lock(mu_);
        objects_[object_key(*address.origin, address.key)].negative_until_ns =
            clock_.monotonic_ns() + kNegative_ns;
      }
      return done(bound.error());
    }
    done(std::move(snapshot));
  });
}

void Catalog::confirm(const SnapshotPtr& snapshot, Callback<void> done) {
  const ObjectAddress& address = snapshot->address();
  const VersionPtr version = snapshot->version();
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
    return replaced ? done(stale()) : done({});
  }
  if (fresh(*version)) return done({});
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
      const auto heard = known->heard();
      if (!heard.must_revalidate &&
          clock_.unix_s() < heard.fresh_until_s + policy_.stale_if_error_s) {
        log_warning("{}: served although it may be stale: {}", url, error.message());
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
    auto snapshot = std::make_shared<Snapshot>(*this, address, *stat->attributes.size,
                                               stat->attributes.modified_s.value_or(-1));
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
    if (!result && result.error().code == ErrorCode::kNotFound)
      object.negative_until_ns = clock_.monotonic_ns() + kNegative_ns;
    if (result && !object.snapshot) object.snapshot = *result;
  }
  for (auto& done : waiting) done(result);
}

// --- directories ------------------------------------------------------------------------------

void Catalog::list(ObjectAddress directory, Callback<ListingPtr> done) {
  if (policy_.kind == FreshnessPolicy::Kind::kOffline) {
    if (auto listing = directories_.cached(*directory.origin, directory.key))
      return done(std::move(listing));
    return done(Error(ErrorCode::kUnreachable,
                      directory.origin->url_of(directory.key) +
                          " was not listed in this run, and the policy is offline"));
  }
  directories_.list(directory.origin, std::move(directory.key), std::move(done));
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
  const VersionPtr version = current ? current->version() : nullptr;
  if (entry.validator.kind != Validator::Kind::kNone && entry.size) {
    // A listing that names versions says that they are current, for as long as it counts itself.
    const Freshness listed{.lifetime_s = listing_ms / 1000};
    if (!version || version->validator() != entry.validator || version->size() != *entry.size) {
      take_in(found.address, {entry.size, entry.validator, entry.modified_s, listed});
      MutexLock lock(mu_);
      current = objects_[object_key(*directory.origin, found.address.key)].snapshot;
    } else {
      auto heard = version->heard();
      const std::int64_t until_s = clock_.unix_s() + policy_.lifetime_s(listed);
      if (heard.current && heard.fresh_until_s < until_s) {
        heard.fresh_until_s = until_s;
        version->set_heard(heard);
      }
    }
    found.file = current;
    return found;
  }
  const bool agrees = current && (!entry.size || *entry.size == current->size()) &&
                      (!entry.modified_s || current->modified_s() < 0 ||
                       same_listed_time(*entry.modified_s, current->modified_s()));
  if (version) {
    if (!agrees || !fresh(*version)) return std::nullopt;
    found.file = current;
    found.valid_for_ms = std::min(listing_ms, valid_for_ms(*version));
    return found;
  }
  if (!entry.size) return std::nullopt;
  if (!agrees) {
    current =
        std::make_shared<Snapshot>(*this, found.address, entry.size, entry.modified_s.value_or(-1));
    MutexLock lock(mu_);
    Object& object = objects_[object_key(*directory.origin, found.address.key)];
    if (object.snapshot && object.snapshot->version()) return std::nullopt;  // learnt meanwhile
    object.snapshot = current;
  }
  found.file = current;
  // Once it is read it has a version, which nobody may open unasked.
  if (policy_.kind == FreshnessPolicy::Kind::kAlways) found.valid_for_ms = 0;
  return found;
}

void Catalog::lookup(ObjectAddress directory, std::string name, Callback<Found> done) {
  list(directory, [this, directory, name = std::move(name),
                   done = std::move(done)](Result<ListingPtr> listing) mutable {
    if (!listing) {
      // No index page here: names can still be asked for one by one.
      if (is_transient(listing.error().code) && policy_.kind != FreshnessPolicy::Kind::kOffline)
        return done(listing.error());
      return probe(std::move(directory), std::move(name), std::move(done));
    }
    const ListEntry* entry = (*listing)->find(name);
    if (entry) {
      if (auto found = known(directory, *entry, (*listing)->fresh_until_ns))
        return done(*std::move(found));
    } else if ((*listing)->complete) {
      return done(Error(ErrorCode::kNotFound, name));
    }
    // Listed without a size, past its time, or hidden from the index (dot files): ask for it.
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
  VersionPtr version = snapshot ? snapshot->version() : nullptr;
  if (version && fresh(*version)) {
    return done(Found{false, std::move(address), snapshot, -1, valid_for_ms(*version)});
  }
  if (policy_.kind == FreshnessPolicy::Kind::kOffline) {
    return done(Error(ErrorCode::kUnreachable, address.origin->url_of(address.key) +
                                                   " is not cached, and the policy is offline"));
  }
  revalidate(
      address, version,
      [this, address, directory, name, done = std::move(done)](Result<SnapshotPtr> result) mutable {
        if (result) {
          const VersionPtr bound = (*result)->version();
          return done(Found{false, address, *result, -1, bound ? valid_for_ms(*bound) : 0});
        }
        if (result.error().code != ErrorCode::kIsDirectory) return done(result.error());
        done(Found{true,
                   {directory.origin, directory.origin->child_key(directory.key, name, true)},
                   nullptr,
                   -1,
                   0});
      });
}

// --- the registry -----------------------------------------------------------------------------

VersionPtr Catalog::load(std::shared_ptr<Origin> origin, VersionRecord record) {
  const Version::Heard heard{record.validated_s, record.fresh_until_s, record.must_revalidate,
                             record.current};
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

}  // namespace rangecache::cache
