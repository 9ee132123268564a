#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/origin.h"
#include "rangecache/byte_range.h"
#include "rangecache/result.h"

namespace rangecache::fetcher {

/// The header fields of one response, in order; names in lower case. A plain value.
class HttpHeaders {
 public:
  void add(std::string_view name, std::string_view value);
  /// The first field of that (lower-case) name, or nullptr.
  const std::string* find(std::string_view name) const;
  std::size_t count(std::string_view name) const;
  /// The values of all fields of that name, in order; valid until the next add().
  std::vector<std::string_view> all(std::string_view name) const;
  /// All fields of that name joined by ", " (RFC 9110 §5.3).
  std::string joined(std::string_view name) const;

 private:
  std::vector<std::pair<std::string, std::string>> fields_;
};

/// "Name: value" without the line end; nullopt for folded lines, bad names, control characters.
std::optional<std::pair<std::string_view, std::string_view>> parse_header_line(
    std::string_view line);

/// Decimal digits only, no sign; nullopt on overflow.
std::optional<std::uint64_t> parse_decimal(std::string_view text);

/// The same for a length of an object: nullopt beyond kMaxObjectSize, too.
std::optional<std::uint64_t> parse_size(std::string_view text);

/// "bytes 0-9/100", "bytes 0-9/*" (no total) or "bytes */100" (no range).
struct ContentRange {
  std::optional<ByteRange> range;
  std::optional<std::uint64_t> total;
};
/// nullopt for everything that RFC 9110 §14.4 calls invalid, and for other units.
std::optional<ContentRange> parse_content_range(std::string_view text);

/// The one Content-Length; nullopt if there is none. An error when several differ, when it is
/// not a number, or when a Transfer-Encoding contradicts it.
Result<std::optional<std::uint64_t>> content_length(const HttpHeaders& headers);

struct EntityTag {
  bool weak = false;
  std::string tag;  ///< with its quotes, without "W/"
};
std::optional<EntityTag> parse_etag(std::string_view text);

/// One of the three forms of RFC 9110 §5.6.7; Unix seconds.
std::optional<std::int64_t> parse_http_date(std::string_view text);

/// Seconds to wait, from either form of Retry-After; nullopt if it is neither.
std::optional<std::int64_t> parse_retry_after(std::string_view text, std::int64_t now_unix_s);

/// What joins the ranges of this response with others: a strong ETag, else a Last-Modified that is
/// strong by RFC 9110 §8.8.2.2 (a second or more before the response's own Date), else kNone.
Validator validator_of(const HttpHeaders& headers);

/// Whether the response is of the version that `expected` names. False when it does not say.
bool matches(const Validator& expected, const HttpHeaders& headers);

/// Anything but identity.
bool has_content_encoding(const HttpHeaders& headers);

}  // namespace rangecache::fetcher
