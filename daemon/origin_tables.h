#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cache/freshness_policy.h"
#include "fetcher/origins.h"
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
  fetcher::OriginOptions options;
  cache::FreshnessPolicy freshness;
  std::optional<std::uint64_t> fetch_whole_bytes;
};

/// What holds for origins of which nothing is said.
struct DefaultFreshness {
  cache::FreshnessPolicy http;
  cache::FreshnessPolicy s3;
};

/// `node` is the array of tables. `place` names the file, for messages.
Result<std::vector<OriginTable>> read_origin_tables(const toml::node& node,
                                                    const std::string& place,
                                                    const fetcher::OriginOptions& each,
                                                    const DefaultFreshness& freshness);

}  // namespace rangecache::daemon
