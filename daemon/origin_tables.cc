#include "daemon/origin_tables.h"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <optional>

#include "fetcher/s3_url.h"
#include "fetcher/url.h"

namespace rangecache::daemon {
namespace {

class TableReader {
 public:
  TableReader(const toml::table& table, const std::string& place) : table_(table), place_(place) {}

  Result<OriginTable> read(const fetcher::S3Options& s3, const cache::FreshnessPolicy& freshness) {
    OriginTable origin{.url = "", .bucket = "", .s3 = s3, .freshness = freshness};
    for (const auto& [key, node] : table_) {
      RC_TRY(take(std::string(key.str()), node, origin));
    }
    if (origin.url.empty()) return wrong(table_, "an [[origin]] needs a url");
    if (uses_s3_ && origin.bucket.empty())
      return wrong(table_, origin.url + ": settings of S3 are for s3:// URLs");
    return origin;
  }

 private:
  Result<void> take(const std::string& key, const toml::node& node, OriginTable& origin) {
    const auto text = node.value<std::string>();
    const auto flag = node.as_boolean();
    const std::pair<const char*, std::string*> texts[] = {{"endpoint-url", &origin.s3.endpoint_url},
                                                          {"region", &origin.s3.region},
                                                          {"profile", &origin.s3.profile},
                                                          {"addressing", &origin.s3.addressing}};
    for (const auto& [name, value] : texts) {
      if (key != name) continue;
      if (!text) return wrong(node, key + " must be a string");
      *value = *text;
      uses_s3_ = true;
      if (key != "addressing" || *text == "auto" || *text == "path" || *text == "virtual")
        return {};
      return wrong(node, "addressing '" + *text + "': use auto, path or virtual");
    }
    const std::pair<const char*, bool*> flags[] = {
        {"no-sign-request", &origin.s3.anonymous},
        {"request-payer", &origin.s3.requester_pays},
        {"unsigned-payload", &origin.s3.unsigned_payload}};
    for (const auto& [name, value] : flags) {
      if (key != name) continue;
      if (!flag) return wrong(node, key + " must be true or false");
      *value = flag->get();
      uses_s3_ = true;
      return {};
    }
    if (!text) return wrong(node, key + " must be a string");
    if (key == "url") return take_url(node, *text, origin);
    if (key == "freshness") {
      const std::int64_t stale_if_error_s = origin.freshness.stale_if_error_s;
      const auto policy = cache::parse_freshness_policy(*text);
      if (!policy) return wrong(node, policy.error().context);
      origin.freshness = *policy;
      origin.freshness.stale_if_error_s = stale_if_error_s;
      return {};
    }
    if (key == "stale-if-error") {
      const auto seconds = cache::parse_duration_s(*text);
      if (!seconds) return wrong(node, seconds.error().context);
      origin.freshness.stale_if_error_s = *seconds;
      return {};
    }
    return wrong(node, fmt::format("unknown key '{}' of an [[origin]]: url, freshness, "
                                   "stale-if-error, endpoint-url, region, profile, addressing, "
                                   "no-sign-request, request-payer, unsigned-payload",
                                   key));
  }

  Result<void> take_url(const toml::node& node, const std::string& url, OriginTable& origin) {
    const auto only_origin = [&](const std::string& key) {
      return key.empty() ? Result<void>()
                         : wrong(node, url +
                                           ": settings are for a whole server or bucket, not for "
                                           "a part of it");
    };
    if (fetcher::is_s3_url(url)) {
      const auto parsed = fetcher::parse_s3_url(url);
      if (!parsed) return wrong(node, parsed.error().context);
      origin.bucket = parsed->bucket;
      origin.url = "s3://" + parsed->bucket;
      return only_origin(parsed->key);
    }
    const auto parsed = fetcher::parse_url(url);
    if (!parsed) return wrong(node, parsed.error().context);
    origin.url = parsed->base_url;
    return only_origin(parsed->key);
  }

  Error wrong(const toml::node& node, const std::string& what) const {
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("{}:{}: {}", place_, node.source().begin.line, what));
  }

  const toml::table& table_;
  const std::string& place_;
  bool uses_s3_ = false;
};

}  // namespace

Result<std::vector<OriginTable>> read_origin_tables(const toml::node& node,
                                                    const std::string& place,
                                                    const fetcher::S3Options& s3,
                                                    const cache::FreshnessPolicy& freshness) {
  const toml::array* array = node.as_array();
  std::vector<OriginTable> origins;
  for (std::size_t i = 0; array != nullptr && i < array->size(); ++i) {
    const toml::table* table = (*array)[i].as_table();
    if (table == nullptr) break;
    RC_ASSIGN(OriginTable origin, TableReader(*table, place).read(s3, freshness));
    for (const OriginTable& other : origins) {
      if (other.url == origin.url)
        return Error(ErrorCode::kInvalidArgument,
                     fmt::format("{}:{}: a second [[origin]] for {}", place,
                                 table->source().begin.line, origin.url));
    }
    origins.push_back(std::move(origin));
  }
  if (origins.empty() || origins.size() < array->size())
    return Error(ErrorCode::kInvalidArgument,
                 fmt::format("{}:{}: write settings of an origin as tables: [[origin]]", place,
                             node.source().begin.line));
  return origins;
}

}  // namespace rangecache::daemon
