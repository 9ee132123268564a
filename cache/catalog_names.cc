// What outlives a run of a catalog.
#include <unordered_map>
#include <utility>

#include "cache/catalog.h"

namespace rangecache::cache {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;

}  // namespace

KnownNames Catalog::known_names() const {
  const std::int64_t now_s = clock_.unix_s(), now_ns = clock_.monotonic_ns();
  const auto unix_of = [&](std::int64_t ns) { return now_s + (ns - now_ns) / kNsPerSecond; };
  KnownNames names;
  for (const Directories::Known& known : directories_.all())
    names.listings.push_back({known.origin->id(), known.dir_key, known.listing->complete,
                              known.listing->hidden_entries, unix_of(known.listing->fresh_until_ns),
                              known.listing->entries});
  MutexLock lock(mu_);
  for (const auto& [key, object] : objects_) {
    if (object.negative_until_ns > now_ns) {
      const std::size_t split = key.find('\n');
      names.absences.push_back(
          {key.substr(0, split), key.substr(split + 1), unix_of(object.negative_until_ns)});
      continue;
    }
    const VersionPtr version = object.snapshot ? object.snapshot->version() : nullptr;
    // The manifest has those with chunks; a listing has what it promises.
    if (!version || version->cached_bytes() > 0 || version->no_store()) continue;
    const Version::Heard heard = version->heard();
    if (!heard.current || heard.must_revalidate ||
        version->validator().kind == Validator::Kind::kPrivate)
      continue;
    names.objects.push_back({version->origin()->id(), version->key(), version->validator(),
                             version->size(), version->modified_s(), heard.validated_s,
                             heard.fresh_until_s});
  }
  return names;
}

void Catalog::load(KnownNames names, const FindOrigin& find_origin) {
  const std::int64_t now_s = clock_.unix_s(), now_ns = clock_.monotonic_ns();
  const auto monotonic_of = [&](std::int64_t s) { return now_ns + (s - now_s) * kNsPerSecond; };
  std::unordered_map<std::string, std::shared_ptr<Origin>> origins;
  const auto origin_of = [&](const std::string& id) {
    const auto [found, is_new] = origins.try_emplace(id);
    if (is_new)
      if (auto origin = find_origin(id)) found->second = *std::move(origin);
    return found->second;
  };
  for (KnownNames::Listing& known : names.listings) {
    auto origin = origin_of(known.origin_id);
    if (!origin) continue;
    auto listing = std::make_shared<DirectoryListing>();
    listing->entries = std::move(known.entries);
    listing->complete = known.complete;
    listing->hidden_entries = known.hidden_entries;
    listing->fresh_until_ns = monotonic_of(known.fresh_until_s);
    directories_.load({std::move(origin), std::move(known.dir_key), std::move(listing)});
  }
  for (KnownNames::Object& known : names.objects) {
    auto origin = origin_of(known.origin_id);
    if (!origin) continue;
    std::string key = object_key(*origin, known.key);
    auto snapshot = std::make_shared<Snapshot>(
        *this, ObjectAddress{std::move(origin), std::move(known.key)},
        Snapshot::Listed{known.size, known.modified_s, std::move(known.validator)});
    snapshot->believe(known.validated_s, known.fresh_until_s);
    MutexLock lock(mu_);
    Object& object = objects_[std::move(key)];
    if (!object.snapshot) object.snapshot = std::move(snapshot);
  }
  for (const KnownNames::Absence& known : names.absences) {
    const auto origin = origin_of(known.origin_id);
    if (!origin || known.until_s <= now_s) continue;
    MutexLock lock(mu_);
    Object& object = objects_[object_key(*origin, known.key)];
    if (!object.snapshot) object.negative_until_ns = monotonic_of(known.until_s);
  }
}

}  // namespace rangecache::cache
