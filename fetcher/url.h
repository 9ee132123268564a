#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "rangecache/result.h"

namespace rangecache::fetcher {

/// A URL in the one spelling that cache keys use, so that two spellings of one address are one
/// object.
struct ParsedUrl {
  bool is_file = false;
  std::string origin_id;  ///< "scheme://host[:port]", lower-case; the default port is left out.
                          ///< With a user: "scheme://~<hash of the user name>@host[:port]"
  std::string base_url;   ///< the same without the user: what requests are sent to
  std::string key;        ///< see base/origin.h. file: the raw (decoded) path below "/"
  std::string user;       ///< decoded; secret, like the password
  std::string password;
};

/// Takes http, https and file URLs. Refuses control characters, other schemes, and dot segments
/// that are hidden behind percent-encoding. The fragment is dropped.
Result<ParsedUrl> parse_url(std::string_view url);

/// Percent-encodes everything but RFC 3986's unreserved characters, '/' included.
std::string encode_segment(std::string_view raw);
/// nullopt when an escape is malformed.
std::optional<std::string> decode_segment(std::string_view encoded);
/// Decodes and encodes each segment of a path again; nullopt when an escape is malformed.
/// Resolves nothing: dot segments are left as they are.
std::optional<std::string> canonical_path(std::string_view path);

/// Percent-encodes each segment of a path whose '/' only separate.
std::string canonical_path_of_raw(std::string_view raw_path);

/// The pieces of an absolute http(s) URL that a link on a page leads to.
struct ResolvedLink {
  std::string origin;  ///< "scheme://host[:port]", lower-case
  std::string path;    ///< raw, with the leading slash, dot segments resolved
  bool has_query = false;
};
/// Resolves `reference` as a browser would on a page at `base`; nullopt if it leads nowhere.
std::optional<ResolvedLink> resolve_link(const std::string& base, const std::string& reference);

/// `url` without user, password and the values in its query: fit for logs and messages.
std::string redact_url(std::string_view url);

}  // namespace rangecache::fetcher
