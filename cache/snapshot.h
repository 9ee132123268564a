#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/origin.h"
#include "base/read_ticket.h"
#include "cache/read.h"
#include "cache/shared_read_ahead.h"
#include "cache/version.h"

namespace rangecache::cache {

class Catalog;
class Snapshot;
using SnapshotPtr = std::shared_ptr<Snapshot>;

/// One object as one open sees it (promise 1): a version, or, until the origin's first answer
/// tells the validator, the promise of one.
///
///     listing: size ──► unbound ──first read: one GET──► bound to (validator, size)
///                          └── another size than was listed ──► stale: every read ESTALE
///
/// A listing that tells the validator too (S3) promises that very version: the first open binds it
/// without asking (Catalog). Once bound it stays bound: all reads through it come from that
/// version. Thread-safe.
class Snapshot : public std::enable_shared_from_this<Snapshot> {
 public:
  /// Bound from the start.
  Snapshot(Catalog& catalog, VersionPtr version);
  /// What a listing told.
  struct Listed {
    std::optional<std::uint64_t> size;  ///< nullopt: bind() must come before the first read
    std::int64_t modified_s = -1;
    Validator validator;
  };
  /// Unbound.
  Snapshot(Catalog& catalog, ObjectAddress address, Listed listed);

  const ObjectAddress& address() const { return address_; }
  /// 0 while unbound and not listed.
  std::uint64_t size() const EXCLUDES(mu_);
  std::int64_t modified_s() const EXCLUDES(mu_);
  VersionPtr version() const EXCLUDES(mu_);  ///< nullptr while unbound

  const Listed& listed() const { return listed_; }
  /// When it was listed, and until when that counts; Unix seconds.
  void believe(std::int64_t listed_s, std::int64_t until_s) EXCLUDES(mu_);
  std::pair<std::int64_t, std::int64_t> believed() const EXCLUDES(mu_);

  /// Whether it is unbound and may still be bound to this version.
  bool awaits(const Validator& validator, std::uint64_t size) const EXCLUDES(mu_);

  /// Calls back once the version is known: at once if it is, else after one GET of the first
  /// bytes, which are kept.
  void bind(Callback<void> done) EXCLUDES(mu_);
  /// Reads `range` cut at the object's end.
  ReadTicket read(ByteRange range, Callback<Slices> done) EXCLUDES(mu_);
  /// Fetches ahead; nothing while unbound.
  void prefetch(ByteRange range) EXCLUDES(mu_);
  /// Makes the first contact ahead of any reader, with all of a small object that was listed.
  /// Nothing once it is bound, or where nothing was listed.
  void fetch_whole() EXCLUDES(mu_);
  /// What the open handles of this object share: kept by them, made by the first.
  std::shared_ptr<SharedReadAhead> read_ahead(ReadAhead::Options options) EXCLUDES(mu_);

 private:
  class FirstContact;
  friend class FirstContact;
  friend class Catalog;

  void contact(ByteRange range, Priority priority) EXCLUDES(mu_);
  /// Somebody waits for the contact under way.
  void hurry() EXCLUDES(mu_);
  /// What the first answer's head tells. Returns the version, or the reason why reads must fail.
  Result<VersionPtr> settle(const FetchHead& head) EXCLUDES(mu_);
  void bound(VersionPtr version) EXCLUDES(mu_);   ///< serves who waited
  void failed(const Error& error) EXCLUDES(mu_);  ///< fails who waited; the next read asks again
  void cancel(const ReadPtr& read) EXCLUDES(mu_);

  Catalog& catalog_;
  const ObjectAddress address_;
  const Listed listed_;

  mutable Mutex mu_;
  VersionPtr version_ GUARDED_BY(mu_);
  std::int64_t listed_s_ GUARDED_BY(mu_) = 0;
  std::int64_t believed_until_s_ GUARDED_BY(mu_) = 0;
  bool stale_ GUARDED_BY(mu_) = false;                   ///< the listed size was not true any more
  bool asking_ GUARDED_BY(mu_) = false;                  ///< a first contact is under way
  std::weak_ptr<FirstContact> contact_ GUARDED_BY(mu_);  ///< the last one
  std::weak_ptr<SharedReadAhead> read_ahead_ GUARDED_BY(mu_);
  std::vector<ReadPtr> reads_ GUARDED_BY(mu_);
  std::vector<Callback<void>> binds_ GUARDED_BY(mu_);
};

}  // namespace rangecache::cache
