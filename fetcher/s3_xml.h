#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/origin.h"
#include "fetcher/http_request.h"

namespace rangecache::fetcher {

/// A page of ListObjectsV2 with delimiter=/ and encoding-type=url as one of a directory. `prefix`
/// is raw, empty or with a '/' at the end. What no path component can name ("", ".", "..", NUL,
/// more than 255 bytes) is left out and counted; so is an object beside a directory of its name.
/// The directory's own marker (an object called `prefix`) is no entry.
struct S3ListPage {
  ListPage page;
  bool has_marker = false;  ///< the prefix itself is an object
};
/// kOriginFailed if it is not what such a service answers.
Result<S3ListPage> parse_s3_listing(std::string_view xml, std::string_view prefix);

/// The texts of the elements that have no others in them, by name; the first of each name. Empty
/// if it is no XML.
std::map<std::string, std::string> xml_texts(std::string_view xml);

/// An <Error> document; nullopt if it is none.
struct S3Error {
  std::string code;     ///< "NoSuchBucket"
  std::string message;  ///< what the service says of it
  std::string request_id;
};
std::optional<S3Error> parse_s3_error(std::string_view xml);

/// A refused request with the service's own words and, where there is one, a remedy.
Error s3_failure(const HttpResponse& response, std::string_view body, const std::string& url,
                 std::int64_t now_unix_s);

}  // namespace rangecache::fetcher
