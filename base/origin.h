#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_function.h"
#include "rangecache/byte_range.h"
#include "rangecache/result.h"

namespace rangecache {

template <typename T>
using Callback = UniqueFunction<void(Result<T>)>;

/// What ties bytes together: two ranges may be joined only if they were fetched under the same
/// validator (RFC 9110 §8.8, §15.3.7.3).
struct Validator {
  enum class Kind : std::uint8_t {
    kNone = 0,          ///< nothing strong was said: bytes of two responses never join
    kEtag = 1,          ///< a strong entity tag, with its quotes, byte for byte
    kVersionId = 2,     ///< a version id of a versioned bucket
    kLastModified = 3,  ///< an HTTP-date that is strong by RFC 9110 §8.8.2.2, as it was sent
    kPrivate = 4,       ///< made here for an object without any: valid for one response only
  };
  Kind kind = Kind::kNone;
  std::string value;

  friend bool operator==(const Validator& a, const Validator& b) {
    return a.kind == b.kind && a.value == b.value;
  }
  friend bool operator!=(const Validator& a, const Validator& b) { return !(a == b); }
};

/// How long a response may be used without asking again, counted from when it was received
/// (RFC 9111 §4.2; the age that it had already is taken off).
struct Freshness {
  std::int64_t lifetime_s = 0;     ///< 0: revalidate before each use
  bool explicit_lifetime = false;  ///< from max-age or Expires, not a heuristic
  bool no_store = false;           ///< must not be kept on disk
  bool must_revalidate = false;    ///< must not be served stale, not even when offline
  /// For how long after its lifetime it may be used while it is asked for (RFC 5861 §3), and while
  /// the origin cannot answer (§4).
  std::int64_t stale_while_revalidate_s = 0;
  std::int64_t stale_if_error_s = 0;
};

/// No Origin tells of a larger object: the cache packs offsets into 56 bits (64 PiB; the largest S3
/// object has less than a thousandth of it).
inline constexpr std::uint64_t kMaxObjectSize = (std::uint64_t{1} << 56) - 1;

/// A checksum of a whole object, as its origin told it.
struct Digest {
  enum class Kind : std::uint8_t { kNone, kMd5, kCrc32c, kCrc64Nvme, kSha256 };
  Kind kind = Kind::kNone;
  std::string value;  ///< raw bytes; of a CRC the most significant first
};

/// What an origin says of an object.
struct ObjectAttributes {
  std::optional<std::uint64_t> size;  ///< bytes; nullopt: the origin does not tell
  Validator validator;
  std::optional<std::int64_t> modified_s;  ///< Last-Modified, Unix seconds
  Freshness freshness;
  Digest digest;
};

enum class Priority : std::uint8_t { kDemand, kReadAhead };

/// A request for one range of one object.
struct FetchRequest {
  std::string key;
  ByteRange range;     ///< not empty; `end` may lie beyond the object (it is then cut)
  Validator expected;  ///< kNone: first contact, take what comes. Else: only this version.
  Priority priority = Priority::kDemand;
};

/// What a body will deliver, known from its headers before any byte of it.
struct FetchHead {
  ObjectAttributes attributes;  ///< size is always set
  ByteRange range;              ///< of the body; wider than asked when the origin ignored the range
  bool whole_body = false;      ///< the origin answered 200 to a range: it does not do ranges
};

/// Takes one fetch. All calls come from the origin's own thread, in the order on_head,
/// on_data..., on_done; none of them may block, and no lock is held during them.
/// Retries and resumptions happen below: the bytes of one fetch are contiguous from
/// head.range.begin and of one version, whatever the connections did.
class FetchSink {
 public:
  enum class Verdict {
    kContinue,  ///< taken
    kPause,     ///< not taken: offer the same bytes again after Transfer::resume()
    kAbort,     ///< not wanted any more: on_done(kCancelled) follows
  };
  virtual ~FetchSink() = default;
  virtual Verdict on_head(const FetchHead& head) = 0;  ///< kContinue or kAbort
  virtual Verdict on_data(std::span<const std::byte> data) = 0;
  /// Last call, exactly once, also without on_head before. kStale: the object is not `expected`
  /// any more (412, or another validator or size in the answer).
  virtual void on_done(Result<void> result) = 0;
};

/// A running fetch. Any thread; the calls only post to the origin's thread. Dropping the object
/// does not cancel.
class Transfer {
 public:
  virtual ~Transfer() = default;
  virtual void cancel() = 0;  ///< on_done(kCancelled) follows, unless it was called already
  virtual void resume() = 0;  ///< after Verdict::kPause
  virtual void promote() {}   ///< from kReadAhead to kDemand, where it still waits for its turn
};

struct ListEntry {
  std::string name;  ///< one path component, decoded: no '/', no NUL, neither "." nor ".."
  bool is_directory = false;
  std::optional<std::uint64_t> size;  ///< exact size in bytes; nullopt when the index rounds it
  std::optional<std::int64_t> modified_s;
  Validator validator;  ///< where the listing tells one (S3); else kNone
};

/// One page of a listing.
struct ListPage {
  std::vector<ListEntry> entries;
  std::string next_token;  ///< empty: this was the last page
  bool complete = false;   ///< what is not listed does not exist (S3, file; never an HTML index)
  Freshness freshness;
  std::uint64_t hidden_entries = 0;  ///< names that cannot be shown as a path component
};

/// What stat() found.
struct StatResult {
  bool not_modified = false;  ///< the version that was asked about is still current (304)
  bool is_directory = false;  ///< a name that the origin redirects to "<name>/"
  ObjectAttributes attributes;
};

/// A configured remote. Thread-safe; callbacks come later, on the origin's own thread, never
/// from within the call, and exactly once. Implementations: fetcher/ (http, file; S3 to come).
///
/// A key names an object below the origin in the origin's own spelling (HTTP: the
/// percent-encoded path and query without the leading slash). A directory's key ends in '/', or
/// is empty for the root.
class Origin {
 public:
  virtual ~Origin() = default;

  /// What identifies the origin in cache keys and messages, e.g. "https://host:8443".
  virtual const std::string& id() const = 0;
  /// The URL of `key`, for people and for `cachectl`.
  virtual std::string url_of(std::string_view key) const = 0;
  /// The key of `name` in the directory `dir_key`.
  virtual std::string child_key(std::string_view dir_key, std::string_view name,
                                bool is_directory) const = 0;

  /// The inverse: the name of the object `key` in its directory.
  virtual std::string name_of(std::string_view key) const {
    return std::string(key.substr(key.rfind('/') + 1));
  }

  /// `known`: answer not_modified if the object still has this validator.
  virtual void stat(std::string key, Validator known, Callback<StatResult> done) = 0;
  /// `token` is empty, or next_token of the page before.
  virtual void list(std::string dir_key, std::string token, Callback<ListPage> done) = 0;
  /// The transfer's sink is kept alive until on_done returned.
  virtual std::shared_ptr<Transfer> fetch(FetchRequest request,
                                          std::shared_ptr<FetchSink> sink) = 0;
};

/// How the origin of an id (Origin::id()) is found; makes no request.
using FindOrigin = std::function<Result<std::shared_ptr<Origin>>(const std::string& origin_id)>;

/// An object's full address.
struct ObjectAddress {
  std::shared_ptr<Origin> origin;
  std::string key;
};

}  // namespace rangecache
