#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/origin.h"
#include "base/read_ticket.h"
#include "base/slice.h"
#include "rangecache/byte_range.h"
#include "rangecache/result.h"
#include "rangecache/types.h"

namespace rangecache::daemon {

// The words that the daemon and its clients share stand once, in the public header.
using rangecache::CachedObject;
using rangecache::EvictResult;
using rangecache::MountInfo;
using rangecache::ObjectInfo;
using rangecache::ObjectMap;
using rangecache::PinInfo;
using rangecache::RefreshResult;
using rangecache::VerifyPart;

/// One open of one version through the API: all reads through it see that version. Holds the
/// read-ahead state. Closed by dropping it.
class OpenFile {
 public:
  virtual ~OpenFile() = default;
  virtual const ObjectInfo& info() const = 0;  ///< as of the open
};

/// What the socket API can ask for: the port that socket_server and handlers see. Thread-safe.
/// Callbacks come once, from any thread, possibly from within the call, and must not block.
class Service {
 public:
  virtual ~Service() = default;

  virtual void open(std::string url, Callback<std::shared_ptr<OpenFile>> done) = 0;
  virtual void stat(std::string url, Callback<ObjectInfo> done) = 0;
  virtual void list(std::string url, Callback<std::vector<ListEntry>> done) = 0;
  /// The slices cover `range` cut at the end of the file.
  virtual ReadTicket read(const std::shared_ptr<OpenFile>& file, ByteRange range,
                          Callback<Slices> done) = 0;

  /// What stands in files around `offset`, without gaps, at most `limit` slices; nothing is
  /// fetched. Empty: that byte does not stand in a file.
  struct Lendable {
    std::uint64_t offset = 0;  ///< of the first slice, in the object; not behind the one asked for
    Slices slices;
  };
  virtual Lendable lendable(const std::shared_ptr<OpenFile>& file, std::uint64_t offset,
                            std::size_t limit) = 0;

  /// A JSON object: {"version", "pid", "uptime_s", "cache_dir", "mounts": [{url, mountpoint}],
  /// "metrics": {name: number}}.
  virtual std::string stats_json() = 0;
  virtual std::string prometheus_text() = 0;

  /// Objects whose URL begins with `url_prefix` (empty: all) and of which something is cached.
  virtual void cached_objects(std::string url_prefix, Callback<std::vector<CachedObject>> done) = 0;
  virtual void map(std::string url, Callback<ObjectMap> done) = 0;
  /// Drops what is cached of the objects whose URL begins with `url_prefix` (empty: everything).
  virtual void evict(std::string url_prefix, Callback<EvictResult> done) = 0;

  /// See Client::refresh.
  virtual RefreshResult refresh(const std::string& url_prefix) = 0;

  /// `expires_s`: Unix seconds; 0: never.
  virtual Result<void> pin(std::string url_prefix, std::string owner, std::int64_t expires_s) = 0;
  /// Of this owner, or of all if it is empty; how many there were.
  virtual Result<std::uint64_t> unpin(const std::string& url_prefix, const std::string& owner) = 0;
  virtual std::vector<PinInfo> pins() = 0;
  /// One step of a verification; see Client::verify.
  virtual void verify(std::string url_prefix, bool repair, std::string cursor,
                      Callback<VerifyPart> done) = 0;

  virtual void mount(std::string url, std::string mountpoint, Callback<MountInfo> done) = 0;
  virtual void unmount(std::string mountpoint, Callback<MountInfo> done) = 0;

  /// Begins an orderly stop; returns at once.
  virtual void shutdown() = 0;
};

}  // namespace rangecache::daemon
