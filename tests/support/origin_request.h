#pragma once

#include <cstdint>
#include <ctime>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "rangecache/byte_range.h"

/// The pure half of the test origin: requests in, decisions out.
namespace rangecache::test {

struct HttpRequest {
  std::string method;
  std::string target;                          ///< still encoded, with its query
  std::map<std::string, std::string> headers;  ///< names in lower case

  const std::string& header(const std::string& name) const;
};

/// Parses a request's head (up to and without the empty line).
std::optional<HttpRequest> parse_request(std::string_view head);

/// The path below the root that `target` names: decoded, without its query, never leaving the
/// root. nullopt: malformed or an attempt to leave.
std::optional<std::string> path_of(const std::string& target);

struct Representation {
  std::uint64_t size = 0;
  std::string etag;
  std::time_t modified = 0;
};

struct Decision {
  int status = 200;
  ByteRange body;  ///< empty for anything but 200 and 206
};

/// RFC 9110 §13.2.2 (order of preconditions) and §14.2 (ranges).
Decision decide(const HttpRequest& request, const Representation& file);

std::string http_date(std::time_t time);
std::string url_encode(std::string_view name);
std::string html_escape(std::string_view text);

}  // namespace rangecache::test
