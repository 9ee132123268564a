#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "rangecache/byte_range.h"
#include "rangecache/result.h"
#include "rangecache/types.h"

/// The C++ client of rangecached.
///
///   auto client = rangecache::Client::connect();
///   auto file = client->open("https://example.org/data.parquet");
///   std::vector<std::byte> footer(8);
///   auto got = file->read(file->size() - 8, footer);
///
/// Everything is thread-safe unless it says otherwise. Each client has one thread of its own, which
/// also runs the callbacks. When the daemon goes away, all that is outstanding fails with
/// kUnreachable, and so does everything after: connect anew.
namespace rangecache {

/// Where daemon and clients meet unless told otherwise: $RANGECACHE_SOCKET; else
/// $XDG_RUNTIME_DIR/rangecache/socket; else /run/user/<uid>/rangecache/socket if that runtime
/// directory exists; else /tmp/rangecache-<uid>/socket.
std::string default_socket_path();

namespace client {
class Connection;
class LeaseKeeper;
struct HeldLease;
}  // namespace client

/// Cached bytes of one object that this process reads by itself, without asking the daemon again.
/// While it lives, the daemon keeps the chunks from being reclaimed. Move-only; const calls are
/// thread-safe. It remains readable after the connection was lost.
class Lease {
 public:
  /// A piece of the leased range: in a file, or in memory when it is not (yet) in one.
  struct Slice {
    ByteRange range;                  ///< of the object
    int fd = -1;                      ///< >= 0: read-only, owned by the lease
    std::uint64_t file_offset = 0;    ///< where range.begin stands in that file
    const std::byte* data = nullptr;  ///< fd < 0: the bytes, owned by the lease
  };

  Lease(Lease&&) noexcept;
  Lease& operator=(Lease&&) noexcept;
  ~Lease();

  ByteRange range() const;                   ///< what is covered: as asked, cut at end of file
  const std::vector<Slice>& slices() const;  ///< in order, without gaps
  /// Copies the bytes at `offset` of the object; fewer than asked at the end of the range.
  Result<std::size_t> pread(std::uint64_t offset, std::span<std::byte> buffer) const;

 private:
  friend class File;
  explicit Lease(std::unique_ptr<client::HeldLease> held);
  std::unique_ptr<client::HeldLease> held_;
};

/// Bytes of one object in this process's memory, read-only: what stands in chunk files is mapped
/// from there, so that it costs page cache and no copy; the rest, if any, is a copy. Move-only.
/// Remains valid after the file was closed and the connection was lost.
class Mapping {
 public:
  Mapping(Mapping&&) noexcept;
  Mapping& operator=(Mapping&&) noexcept;
  ~Mapping();

  ByteRange range() const { return range_; }  ///< of the object: as asked, cut at end of file
  std::span<const std::byte> bytes() const { return bytes_; }
  /// How many of them are a copy.
  std::uint64_t copied_bytes() const { return copied_; }

 private:
  friend class File;
  Mapping() = default;
  void release();

  ByteRange range_;
  std::span<const std::byte> bytes_;
  std::uint64_t copied_ = 0;
  void* address_ = nullptr;
  std::size_t length_ = 0;
  std::vector<std::unique_ptr<client::HeldLease>> leases_;
};

/// A read under way. Dropping it does not cancel.
class PendingRead {
 public:
  PendingRead() = default;
  /// The callback is called with kCancelled, unless the read was already complete.
  void cancel();

 private:
  friend class File;
  explicit PendingRead(std::function<void()> cancel) : cancel_(std::move(cancel)) {}
  std::function<void()> cancel_;
};

/// One version of a remote file: every byte read through it belongs to that version, or the read
/// fails with kStale. Move-only. May outlive its Client; reads then fail.
///
/// What the daemon has in files is read by the library itself, without a message, through leases
/// that it keeps for a while (Client::Options::lease_term).
class File {
 public:
  using ReadCallback = std::function<void(Result<std::size_t>)>;
  /// One read of a batch; see read().
  struct ReadPart {
    std::uint64_t offset = 0;
    std::span<std::byte> buffer;
  };
  /// One result for each part, in their order.
  using BatchCallback = std::function<void(std::vector<Result<std::size_t>>)>;

  File(File&&) noexcept;
  File& operator=(File&&) noexcept;
  ~File();

  const ObjectInfo& info() const;  ///< as of the open
  std::uint64_t size() const { return info().size; }
  const std::string& validator() const { return info().validator; }

  /// Fills `buffer` from `offset`, waiting as long as it takes; fewer bytes only at end of file.
  /// Large reads are split and pipelined. Not from within a callback.
  Result<std::size_t> read(std::uint64_t offset, std::span<std::byte> buffer) const;
  /// The same without waiting. `buffer` must live until `done` was called: exactly once, on the
  /// client's thread, or within this call if the bytes are at hand or the connection is gone.
  /// `done` must not block.
  PendingRead read_async(std::uint64_t offset, std::span<std::byte> buffer,
                         ReadCallback done) const;
  /// Thousands of reads at once, sent together; any that fails leaves the others alone. Not from
  /// within a callback.
  std::vector<Result<std::size_t>> read_batch(std::span<const ReadPart> parts) const;
  /// The same without waiting; the rules of read_async.
  PendingRead read_batch_async(std::span<const ReadPart> parts, BatchCallback done) const;
  /// The range as memory, fetching what is not cached. Pages are read from disk as they are used.
  Result<Mapping> map(ByteRange range) const;
  /// Borrows the range (at most 32 MiB of it: see Lease::range()); what is not cached is fetched.
  Result<Lease> lease(ByteRange range) const;

 private:
  friend class Client;
  struct Impl;
  explicit File(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

/// A connection to the daemon. Move-only. Destroy it outside of its callbacks; that fails what is
/// outstanding and joins its thread.
class Client {
 public:
  struct Options {
    std::string socket_path;  ///< empty: default_socket_path()
    std::chrono::milliseconds connect_timeout{5000};
    /// How many descriptors of chunk files the library may keep open to read cached bytes by
    /// itself; 0: every read asks the daemon. Default: an eighth of RLIMIT_NOFILE, at most 256.
    std::optional<std::size_t> max_lease_descriptors{};
    /// How long they are kept at most: then the daemon is asked anew, if they are still used. So
    /// long may chunks that the daemon evicts keep their space.
    std::chrono::milliseconds lease_term{10'000};
  };
  static Result<Client> connect() { return connect(Options()); }
  /// kUnreachable: no daemon answers there. kUnsupported: its protocol is too old or too new.
  static Result<Client> connect(const Options& options);

  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();

  Result<File> open(std::string_view url) const;
  Result<ObjectInfo> stat(std::string_view url) const;
  Result<std::vector<DirectoryEntry>> list(std::string_view url) const;

  struct DaemonInfo {
    std::uint32_t pid = 0;
    std::string version;
  };
  Result<DaemonInfo> ping() const;
  Result<std::string> stats_json() const;  ///< a JSON object: docs/PROTOCOL.md, STATS
  Result<std::string> prometheus_text() const;
  /// Objects whose URL begins with `url_prefix` (empty: all) and of which something is cached.
  Result<std::vector<CachedObject>> cached(std::string_view url_prefix) const;
  Result<ObjectMap> map(std::string_view url) const;
  /// Drops what is cached of the objects whose URL begins with `url_prefix` (empty: everything).
  Result<EvictResult> evict(std::string_view url_prefix) const;
  /// What is known of the objects and directories whose URL begins with `url_prefix` (empty: of
  /// all) is asked for again at its next use, however fresh it was.
  Result<RefreshResult> refresh(std::string_view url_prefix) const;
  /// Objects whose URL begins with `url_prefix`, now or later, are not evicted for lack of room,
  /// until `expires_s` (Unix seconds; 0: never). A pin of the same prefix and owner is replaced.
  Result<void> pin(std::string_view url_prefix, std::string_view owner,
                   std::int64_t expires_s) const;
  /// The pins of `owner`, or of all if that is empty; how many there were.
  Result<std::uint64_t> unpin(std::string_view url_prefix, std::string_view owner) const;
  Result<std::vector<PinInfo>> pins() const;
  /// Reads what is cached of the objects whose URL begins with `url_prefix` (empty: of all) against
  /// its checksums, step by step: `cursor` is "" at first, then VerifyPart::next until that is
  /// empty. With `repair` bad ranges are fetched again before the answer.
  Result<VerifyPart> verify(std::string_view url_prefix, bool repair,
                            std::string_view cursor) const;
  Result<MountInfo> mount(std::string_view url, std::string_view mountpoint) const;
  Result<MountInfo> unmount(std::string_view mountpoint) const;
  Result<void> shutdown() const;  ///< begins an orderly stop of the daemon

 private:
  Client(std::shared_ptr<client::Connection> connection,
         std::shared_ptr<client::LeaseKeeper> leases);
  std::shared_ptr<client::Connection> connection_;
  std::shared_ptr<client::LeaseKeeper> leases_;
};

}  // namespace rangecache
