#pragma once

#include <string>
#include <vector>

#include "cache/freshness_policy.h"
#include "fetcher/aws_settings.h"
#include "rangecache/result.h"

namespace toml {
inline namespace v3 {
class node;
}
}  // namespace toml

namespace rangecache::daemon {

/// What an [[origin]] table of the config file says of one server or bucket; what it does not say
/// is as for all others.
struct OriginTable {
  std::string url;     ///< "https://host:port" or "s3://bucket": no slash at the end
  std::string bucket;  ///< of an s3:// URL; else empty
  fetcher::S3Options s3;
  cache::FreshnessPolicy freshness;
};

/// `node` is the array of tables. `place` names the file, for messages.
Result<std::vector<OriginTable>> read_origin_tables(const toml::node& node,
                                                    const std::string& place,
                                                    const fetcher::S3Options& s3,
                                                    const cache::FreshnessPolicy& freshness);

}  // namespace rangecache::daemon
