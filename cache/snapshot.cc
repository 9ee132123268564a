#include "cache/snapshot.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "cache/catalog.h"

namespace rangecache::cache {
namespace {

/// What the first GET of an unknown object asks for: enough for a header, little to waste.
constexpr std::uint64_t kFirstBytes = 64 * 1024;
constexpr std::uint64_t kPage = 4096;

Error changed_error(const std::string& url) {
  return Error(ErrorCode::kStale,
               url + " has changed since its directory was listed: open it again");
}

}  // namespace

/// The fetch that learns the version: its head binds the snapshot, its bytes become the
/// version's first flight. So the first byte costs one round trip, and no HEAD.
class Snapshot::FirstContact final : public FetchSink {
 public:
  FirstContact(SnapshotPtr snapshot, Priority priority)
      : snapshot_(std::move(snapshot)), priority_(priority) {}

  /// A reader waits for it now. From any thread.
  void hurry() {
    std::shared_ptr<Transfer> transfer;
    {
      MutexLock lock(mu_);
      if (std::exchange(priority_, Priority::kDemand) == Priority::kDemand) return;
      transfer = transfer_;
      hurried_ = !transfer;
    }
    if (transfer) transfer->promote();
  }

  /// Called when the origin has returned the transfer, which may be after on_head.
  void set_transfer(std::shared_ptr<Transfer> transfer) {
    Version::Adopted adopted;
    VersionPtr version;
    bool hurried = false;
    {
      MutexLock lock(mu_);
      transfer_ = transfer;
      adopted = adopted_;
      version = version_;
      hurried = hurried_;
    }
    if (hurried) transfer->promote();
    if (adopted.flight) version->attach(adopted.flight, std::move(transfer));
  }

  Verdict on_head(const FetchHead& head) override {
    if (head.attributes.validator.kind == Validator::Kind::kNone &&
        head.range != ByteRange{0, *head.attributes.size}) {
      // No validator: bytes of two responses never join, so one response must bring them all.
      whole_wanted_ = true;
      return Verdict::kAbort;
    }
    auto version = snapshot_->settle(head);
    if (!version) {
      failure_ = version.error();
      return Verdict::kAbort;
    }
    Version::Adopted adopted = (*version)->adopt(head.range, priority());
    std::shared_ptr<Transfer> transfer;
    {
      MutexLock lock(mu_);
      adopted_ = adopted;
      version_ = *version;
      transfer = transfer_;
    }
    if (adopted.flight && transfer) (*version)->attach(adopted.flight, std::move(transfer));
    const Verdict verdict = adopted.sink ? adopted.sink->on_head(head) : Verdict::kAbort;
    settled_ = true;
    snapshot_->bound(*version);
    return verdict;
  }

  Verdict on_data(std::span<const std::byte> data) override {
    return adopted_sink()->on_data(data);
  }

  void on_done(Result<void> result) override {
    if (auto sink = adopted_sink()) return sink->on_done(std::move(result));
    if (settled_) return;
    if (whole_wanted_) return snapshot_->contact({0, UINT64_MAX}, priority());
    if (failure_) return snapshot_->failed(*failure_);
    snapshot_->failed(result ? Error(ErrorCode::kOriginFailed, "an answer without a head")
                             : result.error());
  }

 private:
  Priority priority() {
    MutexLock lock(mu_);
    return priority_;
  }
  std::shared_ptr<FetchSink> adopted_sink() {
    MutexLock lock(mu_);
    return adopted_.sink;
  }

  const SnapshotPtr snapshot_;
  // The origin's thread's:
  bool settled_ = false;
  bool whole_wanted_ = false;
  std::optional<Error> failure_;

  Mutex mu_;
  Priority priority_ GUARDED_BY(mu_);
  bool hurried_ GUARDED_BY(mu_) = false;  ///< before the transfer was known
  Version::Adopted adopted_ GUARDED_BY(mu_);
  VersionPtr version_ GUARDED_BY(mu_);
  std::shared_ptr<Transfer> transfer_ GUARDED_BY(mu_);
};

Snapshot::Snapshot(Catalog& catalog, VersionPtr version)
    : catalog_(catalog),
      address_{version->origin(), version->key()},
      listed_{version->size(), version->modified_s(), {}},
      version_(std::move(version)) {}

Snapshot::Snapshot(Catalog& catalog, ObjectAddress address, Listed listed)
    : catalog_(catalog), address_(std::move(address)), listed_(std::move(listed)) {}

void Snapshot::believe(std::int64_t listed_s, std::int64_t until_s) {
  MutexLock lock(mu_);
  listed_s_ = listed_s;
  believed_until_s_ = until_s;
}

std::pair<std::int64_t, std::int64_t> Snapshot::believed() const {
  MutexLock lock(mu_);
  return {listed_s_, believed_until_s_};
}

std::uint64_t Snapshot::size() const {
  MutexLock lock(mu_);
  return version_ ? version_->size() : listed_.size.value_or(0);
}

std::int64_t Snapshot::modified_s() const {
  MutexLock lock(mu_);
  return version_ && version_->modified_s() >= 0 ? version_->modified_s() : listed_.modified_s;
}

VersionPtr Snapshot::version() const {
  MutexLock lock(mu_);
  return version_;
}

bool Snapshot::awaits(const Validator& validator, std::uint64_t size) const {
  const bool as_listed =
      listed_.size.value_or(size) == size &&
      (listed_.validator.kind == Validator::Kind::kNone || listed_.validator == validator);
  MutexLock lock(mu_);
  return !version_ && !stale_ && as_listed;
}

void Snapshot::bind(Callback<void> done) {
  bool ask = false, wait = false;
  {
    MutexLock lock(mu_);
    if (!version_ && !stale_) {
      binds_.push_back(std::move(done));
      ask = !std::exchange(asking_, true);
      wait = !ask;
    }
  }
  if (ask) return contact({0, kFirstBytes}, Priority::kDemand);
  if (wait) return hurry();
  if (version()) return done({});
  done(changed_error(address_.origin->url_of(address_.key)));
}

ReadTicket Snapshot::read(ByteRange range, Callback<Slices> done) {
  VersionPtr version;
  bool stale = false, ask = false;
  ReadPtr read;
  {
    MutexLock lock(mu_);
    const std::uint64_t size = version_ ? version_->size() : listed_.size.value_or(0);
    range.end = std::min(range.end, size);
    version = version_;
    stale = stale_;
    if (!version && !stale && !range.empty()) {
      read = std::make_shared<Read>(range, catalog_.clock().monotonic_ns(), std::move(done));
      reads_.push_back(read);
      ask = !std::exchange(asking_, true);
    }
  }
  if (read) {
    if (ask) {
      const std::uint64_t begin = range.begin / kPage * kPage;
      contact({begin, std::max(range.end, begin + kFirstBytes)}, Priority::kDemand);
    } else {
      hurry();
    }
    return ReadTicket([self = shared_from_this(), read] { self->cancel(read); });
  }
  if (range.empty() && !stale) {
    done(Slices{});
    return {};
  }
  if (stale) {
    done(changed_error(address_.origin->url_of(address_.key)));
    return {};
  }
  return version->read(range, std::move(done));
}

void Snapshot::prefetch(ByteRange range) {
  if (auto known = version()) known->prefetch(range);
}

void Snapshot::fetch_whole() {
  {
    MutexLock lock(mu_);
    if (version_ || stale_ || !listed_.size.value_or(0) || std::exchange(asking_, true)) return;
  }
  contact({0, *listed_.size}, Priority::kReadAhead);
}

void Snapshot::hurry() {
  std::shared_ptr<FirstContact> contact;
  {
    MutexLock lock(mu_);
    contact = contact_.lock();
  }
  if (contact) contact->hurry();
}

std::shared_ptr<SharedReadAhead> Snapshot::read_ahead(ReadAhead::Options options) {
  MutexLock lock(mu_);
  auto shared = read_ahead_.lock();
  if (!shared) read_ahead_ = shared = std::make_shared<SharedReadAhead>(options);
  return shared;
}

void Snapshot::cancel(const ReadPtr& read) {
  VersionPtr version;
  bool waiting = false;
  {
    MutexLock lock(mu_);
    version = version_;
    const auto found = std::find(reads_.begin(), reads_.end(), read);
    waiting = found != reads_.end();
    if (waiting) reads_.erase(found);
  }
  if (version) return version->cancel(read);
  if (waiting) read->callback(Error(ErrorCode::kCancelled, "the reader gave up"));
}

void Snapshot::contact(ByteRange range, Priority priority) {
  auto sink = std::make_shared<FirstContact>(shared_from_this(), priority);
  {
    MutexLock lock(mu_);
    contact_ = sink;
  }
  auto transfer = address_.origin->fetch({address_.key, range, {}, priority}, sink);
  sink->set_transfer(std::move(transfer));
}

Result<VersionPtr> Snapshot::settle(const FetchHead& head) {
  const std::uint64_t size = *head.attributes.size;
  if (listed_.size && *listed_.size != size) {
    {
      MutexLock lock(mu_);
      stale_ = true;
    }
    catalog_.learn(address_, head.attributes);  // the next open gets what is there now
    return changed_error(address_.origin->url_of(address_.key));
  }
  return catalog_.learn(address_, head.attributes);
}

void Snapshot::bound(VersionPtr version) {
  std::vector<ReadPtr> reads;
  std::vector<Callback<void>> binds;
  {
    MutexLock lock(mu_);
    if (version_) version = version_;  // once bound it stays bound
    version_ = version;
    asking_ = false;
    reads.swap(reads_);
    binds.swap(binds_);
  }
  for (auto& done : binds) done({});
  for (const ReadPtr& read : reads) version->begin(read);
}

void Snapshot::failed(const Error& error) {
  std::vector<ReadPtr> reads;
  std::vector<Callback<void>> binds;
  {
    MutexLock lock(mu_);
    asking_ = false;
    reads.swap(reads_);
    binds.swap(binds_);
  }
  for (auto& done : binds) done(error);
  for (const ReadPtr& read : reads) read->callback(error);
}

}  // namespace rangecache::cache
