#pragma once

#include <string>
#include <string_view>

#include "rangecache/result.h"

namespace rangecache::fetcher {

/// "s3://bucket/key" at the configured endpoint, or "s3+http://host[:port]/bucket/key" (or
/// s3+https) at that one. The key is taken as it stands, byte for byte, as AWS's own tools do:
/// nothing in it is an escape, and '?' and '#' are characters like others.
/// Only "?versionId=..." at its end is not of the key: it names one version.
struct S3Url {
  std::string endpoint_url;  ///< empty: the configured one
  std::string bucket;
  std::string key;         ///< raw
  std::string version_id;  ///< empty: the newest
};

bool is_s3_url(std::string_view url);
Result<S3Url> parse_s3_url(std::string_view url);

}  // namespace rangecache::fetcher
