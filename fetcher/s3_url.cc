#include "fetcher/s3_url.h"

#include <fmt/format.h>

#include <algorithm>

namespace rangecache::fetcher {
namespace {

constexpr std::size_t kMaxKey = 1024;  // bytes (Amazon S3 user guide, "Naming objects")

bool has_prefix(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

/// What could be a bucket of any S3 service, and is safe in a path and a host name.
bool is_bucket_name(std::string_view name) {
  return name.size() >= 3 && name.size() <= 255 && name != "..." &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '-' || c == '_';
         });
}

}  // namespace

bool is_s3_url(std::string_view url) {
  return has_prefix(url, "s3://") || has_prefix(url, "s3+http://") ||
         has_prefix(url, "s3+https://");
}

Result<S3Url> parse_s3_url(std::string_view url) {
  const auto bad = [&](std::string_view why) {
    return Error(ErrorCode::kInvalidArgument, fmt::format("URL '{}': {}", url, why));
  };
  if (url.find('\0') != std::string_view::npos)
    return Error(ErrorCode::kInvalidArgument, "the URL contains a NUL");
  S3Url parsed;
  const std::size_t host = url.find("://") + 3;
  std::string_view rest = url.substr(host);
  if (!has_prefix(url, "s3://")) {
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    parsed.endpoint_url = url.substr(3, host - 3 + slash);
    if (slash == 0) return bad("must name a host: s3+https://host/bucket/key");
    rest.remove_prefix(std::min(slash + 1, rest.size()));
  }
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  parsed.bucket = rest.substr(0, slash);
  parsed.key = rest.substr(std::min(slash + 1, rest.size()));
  constexpr std::string_view kVersion = "?versionId=";
  const std::size_t version = parsed.key.rfind(kVersion);
  if (version != std::string::npos && version > 0) {
    parsed.version_id = parsed.key.substr(version + kVersion.size());
    parsed.key.resize(version);
    if (parsed.version_id.empty()) return bad("names no version");
  }
  if (!is_bucket_name(parsed.bucket))
    return bad("must name a bucket: s3://bucket or s3://bucket/key");
  if (parsed.key.size() > kMaxKey) return bad("the key is longer than 1024 bytes");
  return parsed;
}

}  // namespace rangecache::fetcher
