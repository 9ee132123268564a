#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/mutex.h"
#include "client/held_lease.h"

namespace rangecache::client {

class KeptLeases;

/// A lease that the library keeps for the reads to come.
struct KeptLease {
  std::unique_ptr<HeldLease> lease;
  std::int64_t renew_ns = 0;    ///< from then on its use asks for a new one
  std::int64_t expires_ns = 0;  ///< from then on it is not used
  std::atomic<std::int64_t> used_ns{0};
};
using KeptLeasePtr = std::shared_ptr<KeptLease>;

/// All leases that one client keeps: bounds their descriptors, and gives back those whose time is
/// over. On the connection's thread only.
class LeaseKeeper {
 public:
  LeaseKeeper(std::size_t max_descriptors, std::chrono::nanoseconds term)
      : max_descriptors_(max_descriptors), term_ns_(term.count()) {}
  /// As many as leave the program most of what it may open.
  static std::size_t default_max_descriptors();

  /// False: every read asks the daemon. From any thread.
  bool enabled() const { return max_descriptors_ > 0; }
  /// Begins the lease's term, and makes room for it by giving back those that were not used for
  /// longest.
  void add(const std::shared_ptr<KeptLeases>& owner, const KeptLeasePtr& lease);
  /// Gives back what is over. Milliseconds until the next is; -1 if there is none.
  int expire();

 private:
  struct Entry {
    std::weak_ptr<KeptLeases> owner;
    std::weak_ptr<KeptLease> lease;
  };
  const std::size_t max_descriptors_;
  const std::int64_t term_ns_;
  std::vector<Entry> entries_;
};

/// The leases of one open file, kept by the library so that reading what the daemon has in files
/// costs a pread and no message. Each is kept for a term at most and then had anew, if it is still
/// used: so the daemon's eviction hears of the use, and gets back the space of what it evicted
/// (C. Gray, D. Cheriton, "Leases", 1989). Thread-safe.
class KeptLeases : public std::enable_shared_from_this<KeptLeases> {
 public:
  KeptLeases(std::shared_ptr<Connection> connection, std::shared_ptr<LeaseKeeper> keeper,
             std::uint64_t handle);

  enum class Wait : std::uint8_t { kForDisk, kNever };
  /// Fills the buffer, if all of it is leased (and, with kNever, in the page cache).
  bool read(std::uint64_t offset, std::span<std::byte> buffer, Wait wait) EXCLUDES(mu_);
  /// The daemon had to be asked for bytes at `offset`: lease what stands around them, unless that
  /// was in vain lately.
  void missed(std::uint64_t offset) EXCLUDES(mu_);
  void drop(const KeptLease& lease) EXCLUDES(mu_);

 private:
  struct Piece {
    ByteRange range;
    int fd;
    std::uint64_t file_offset;
    KeptLeasePtr lease;
  };
  using Table = std::vector<Piece>;  ///< in order, without overlaps; never changed once published

  std::shared_ptr<const Table> table() EXCLUDES(mu_);
  /// Unless it was in vain lately, or is under way.
  void ask_if_worthwhile(std::uint64_t offset) EXCLUDES(mu_);
  void answered(Result<Reply> reply) EXCLUDES(mu_);
  template <typename Drop>
  void remove_if_locked(Drop drop) REQUIRES(mu_);

  const std::shared_ptr<Connection> connection_;
  const std::shared_ptr<LeaseKeeper> keeper_;
  const std::uint64_t handle_;
  std::atomic<bool> asking_{false};

  Mutex mu_;
  std::shared_ptr<const Table> table_ GUARDED_BY(mu_);
  int patience_ GUARDED_BY(mu_) = 1;  ///< so many more misses, then ask
  int backoff_ GUARDED_BY(mu_) = 1;   ///< what patience_ begins with
};

}  // namespace rangecache::client
