#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
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
}

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
  struct Impl;
  explicit Lease(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
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
class File {
 public:
  using ReadCallback = std::function<void(Result<std::size_t>)>;

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
  /// client's thread (or within this call, if the connection is gone). `done` must not block.
  PendingRead read_async(std::uint64_t offset, std::span<std::byte> buffer,
                         ReadCallback done) const;
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
  explicit Client(std::shared_ptr<client::Connection> connection);
  std::shared_ptr<client::Connection> connection_;
};

}  // namespace rangecache
