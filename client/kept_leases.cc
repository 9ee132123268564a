#include "client/kept_leases.h"

#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/wire.h"

namespace rangecache::client {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000;
constexpr int kMaxBackoff = 64;

/// A tick old at most (1 to 10 ms), and a fifth of the price.
std::int64_t coarse_now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return now.tv_sec * 1'000'000'000 + now.tv_nsec;
}

bool pread_fully(int fd, std::span<std::byte> buffer, std::uint64_t offset, int flags) {
  while (!buffer.empty()) {
    const iovec part{buffer.data(), buffer.size()};
    const ssize_t got = flags == 0
                            ? pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(offset))
                            : preadv2(fd, &part, 1, static_cast<off_t>(offset), flags);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    buffer = buffer.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return true;
}

}  // namespace

// --- all of a client --------------------------------------------------------------------------

std::size_t LeaseKeeper::default_max_descriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 64;
  return std::min<std::size_t>(256, limit.rlim_cur / 8);
}

void LeaseKeeper::add(const std::shared_ptr<KeptLeases>& owner, const KeptLeasePtr& lease) {
  const std::int64_t now = coarse_now_ns();
  lease->used_ns = now;
  lease->renew_ns = now + term_ns_ / 2;
  lease->expires_ns = now + term_ns_;
  std::size_t held = lease->lease->fds.size();
  std::vector<std::pair<KeptLeasePtr, std::size_t>> others;
  std::erase_if(entries_, [](const Entry& entry) { return entry.lease.expired(); });
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (auto other = entries_[i].lease.lock()) {
      held += other->lease->fds.size();
      others.emplace_back(std::move(other), i);
    }
  }
  entries_.push_back({owner, lease});
  if (held <= max_descriptors_) return;
  std::sort(others.begin(), others.end(), [](const auto& a, const auto& b) {
    return a.first->used_ns.load() < b.first->used_ns.load();
  });
  for (const auto& [other, index] : others) {
    if (held <= max_descriptors_) return;
    held -= other->lease->fds.size();
    if (const auto file = entries_[index].owner.lock()) file->drop(*other);
  }
}

int LeaseKeeper::expire() {
  const std::int64_t now = coarse_now_ns();
  std::int64_t next = INT64_MAX;
  std::erase_if(entries_, [&](const Entry& entry) {
    const auto lease = entry.lease.lock();
    if (!lease) return true;
    if (lease->expires_ns > now) {
      next = std::min(next, lease->expires_ns);
      return false;
    }
    if (const auto file = entry.owner.lock()) file->drop(*lease);
    return true;
  });
  return next == INT64_MAX ? -1 : static_cast<int>((next - now) / kMillisecond) + 1;
}

// --- of a file --------------------------------------------------------------------------------

KeptLeases::KeptLeases(std::shared_ptr<Connection> connection, std::shared_ptr<LeaseKeeper> keeper,
                       std::uint64_t handle)
    : connection_(std::move(connection)), keeper_(std::move(keeper)), handle_(handle) {}

std::shared_ptr<const KeptLeases::Table> KeptLeases::table() {
  MutexLock lock(mu_);
  return table_;
}

bool KeptLeases::read(std::uint64_t offset, std::span<std::byte> buffer, Wait wait) {
  const std::shared_ptr<const Table> pieces = table();
  if (!pieces) return false;
  const ByteRange wanted = ByteRange::at(offset, buffer.size());
  auto piece = std::upper_bound(pieces->begin(), pieces->end(), wanted.begin,
                                [](std::uint64_t at, const Piece& p) { return at < p.range.end; });
  const std::int64_t now = coarse_now_ns();
  bool renew = false;
  std::uint64_t at = wanted.begin;
  // First whether it is all there: half a read from here is of no use.
  for (auto p = piece; at < wanted.end; ++p) {
    if (p == pieces->end() || p->range.begin > at || now >= p->lease->expires_ns) return false;
    renew |= now >= p->lease->renew_ns;
    at = p->range.end;
  }
  const int flags = wait == Wait::kNever ? RWF_NOWAIT : 0;
  for (at = wanted.begin; at < wanted.end; ++piece) {
    const std::uint64_t end = std::min(piece->range.end, wanted.end);
    if (!pread_fully(piece->fd, buffer.subspan(at - wanted.begin, end - at),
                     piece->file_offset + (at - piece->range.begin), flags))
      return false;
    if (piece->lease->used_ns.load(std::memory_order_relaxed) != now)
      piece->lease->used_ns.store(now, std::memory_order_relaxed);
    at = end;
  }
  if (renew) ask_if_worthwhile(offset);
  return true;
}

void KeptLeases::missed(std::uint64_t offset) {
  if (!keeper_->enabled()) return;
  {
    MutexLock lock(mu_);
    // A lease may have come while that answer was on its way.
    const std::int64_t now = coarse_now_ns();
    const auto has_it = [&](const Piece& piece) {
      return piece.range.contains(offset) && now < piece.lease->renew_ns;
    };
    if (table_ && std::any_of(table_->begin(), table_->end(), has_it)) return;
  }
  ask_if_worthwhile(offset);
}

void KeptLeases::ask_if_worthwhile(std::uint64_t offset) {
  {
    MutexLock lock(mu_);
    if (patience_ > 1) {
      --patience_;
      return;
    }
  }
  if (asking_.exchange(true)) return;
  wire::Writer payload;
  payload.u64(handle_);
  payload.u64(offset);
  connection_->send(protocol::MessageType::kLeaseCached, payload.take(),
                    [weak = weak_from_this()](Result<Reply> reply) {
                      if (const auto self = weak.lock()) self->answered(std::move(reply));
                    });
}

void KeptLeases::answered(Result<Reply> reply) {
  auto lease = HeldLease::parse(std::move(reply), connection_);
  if (!lease || (*lease)->slices.empty()) {
    {
      MutexLock lock(mu_);
      backoff_ = std::min(2 * backoff_, kMaxBackoff);
      patience_ = backoff_;
    }
    asking_ = false;
    return;
  }
  const auto kept = std::make_shared<KeptLease>();
  kept->lease = *std::move(lease);
  keeper_->add(shared_from_this(), kept);
  const ByteRange range = kept->lease->range;
  std::shared_ptr<const Table> before;  // what it lets go of sends messages: not under the lock
  {
    MutexLock lock(mu_);
    before = table_;
    remove_if_locked([range](const Piece& piece) { return piece.range.overlaps(range); });
    auto table = std::make_shared<Table>(table_ ? *table_ : Table());
    Table added;
    for (const Lease::Slice& slice : kept->lease->slices)
      if (slice.fd >= 0) added.push_back({slice.range, slice.fd, slice.file_offset, kept});
    const auto place =
        std::upper_bound(table->begin(), table->end(), range.begin,
                         [](std::uint64_t at, const Piece& p) { return at < p.range.begin; });
    table->insert(place, added.begin(), added.end());
    table_ = std::move(table);
    patience_ = backoff_ = 1;
  }
  asking_ = false;
}

void KeptLeases::drop(const KeptLease& lease) {
  std::shared_ptr<const Table> before;
  MutexLock lock(mu_);
  before = table_;
  remove_if_locked([&lease](const Piece& piece) { return piece.lease.get() == &lease; });
}

template <typename Drop>
void KeptLeases::remove_if_locked(Drop drop) {
  if (!table_ || std::none_of(table_->begin(), table_->end(), drop)) return;
  auto table = std::make_shared<Table>(*table_);
  std::erase_if(*table, drop);
  table_ = table->empty() ? nullptr : std::move(table);
}

}  // namespace rangecache::client
