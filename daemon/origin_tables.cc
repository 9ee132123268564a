#include "daemon/origin_tables.h"

#include <fmt/format.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "daemon/parse_size.h"
#include "fetcher/s3_url.h"
#include "fetcher/url.h"

namespace rangecache::daemon {
namespace {

class TableReader {
 public:
  TableReader(const toml::table& table, const std::string& place) : table_(table), place_(place) {}

  Result<OriginTable> read(const fetcher::OriginOptions& each, const DefaultFreshness& freshness) {
    OriginTable origin{
        .url = "", .bucket = "", .options = each, .freshness = {}, .fetch_whole_bytes = {}};
    // First: the others may depend on it.
    const toml::node* url = table_.get("url");
    if (url == nullptr) return wrong(table_, "an [[origin]] needs a url");
    const auto text = url->value<std::string>();
    if (!text) return wrong(*url, "url must be a string");
    RC_TRY(take_url(*url, *text, origin));
    origin.freshness = origin.bucket.empty() ? freshness.http : freshness.s3;
    for (const auto& [key, node] : table_)
      if (key.str() != "url") RC_TRY(take(std::string(key.str()), node, origin));
    if (uses_s3_ && origin.bucket.empty())
      return wrong(table_, origin.url + ": settings of S3 are for s3:// URLs");
    origin.options.limits.offline = origin.freshness.kind == cache::FreshnessPolicy::Kind::kOffline;
    return origin;
  }

 private:
  Result<void> take(const std::string& key, const toml::node& node, OriginTable& origin) {
    RC_ASSIGN(const bool is_s3, take_s3(key, node, origin.options.s3));
    uses_s3_ = uses_s3_ || is_s3;
    if (is_s3) return {};
    auto& connection = origin.options.connection;
    if (key == "max-transfers") {
      const auto number = node.value<std::int64_t>();
      if (!number || *number < 1 || *number > 1024)
        return wrong(node, key + " must be a number from 1 to 1024");
      connection.max_transfers = static_cast<int>(*number);
      return {};
    }
    if (key == "hedge") {
      const auto per_cent = node.value<double>();
      if (!per_cent || *per_cent < 0 || *per_cent > 100)
        return wrong(node, key + " must be a number from 0 to 100");
      origin.options.limits.hedge_share = *per_cent / 100;
      return {};
    }
    const auto text = node.value<std::string>();
    if (!text) return wrong(node, key + " must be a string");
    if (key == "freshness") {
      const std::int64_t stale_if_error_s = origin.freshness.stale_if_error_s;
      const auto policy = cache::parse_freshness_policy(*text);
      if (!policy) return wrong(node, policy.error().context);
      origin.freshness = *policy;
      origin.freshness.stale_if_error_s = stale_if_error_s;
      return {};
    }
    if (key == "fetch-whole") {
      const auto size = parse_size(*text);
      if (!size) return wrong(node, size.error().context);
      origin.fetch_whole_bytes = *size;
      return {};
    }
    if (key == "stale-if-error")
      return take_seconds(node, *text, origin.freshness.stale_if_error_s);
    if (key == "connect-timeout") return take_timeout(node, *text, connection.connect_timeout_ms);
    if (key == "timeout") {
      RC_TRY(take_timeout(node, *text, connection.stall_timeout_ms));
      connection.first_byte_timeout_ms = connection.stall_timeout_ms;
      return {};
    }
    if (key == "proxy") {
      connection.proxy = *text;
      return {};
    }
    if (key == "ca-file") {
      if (access(text->c_str(), R_OK) != 0)
        return wrong(node, fmt::format("ca-file {}: {}", *text, std::strerror(errno)));
      connection.ca_file = *text;
      return {};
    }
    return wrong(
        node,
        fmt::format("unknown key '{}' of an [[origin]]: url, freshness, stale-if-error, "
                    "fetch-whole, ca-file, proxy, connect-timeout, timeout, max-transfers, hedge, "
                    "endpoint-url, region, profile, addressing, no-sign-request, "
                    "request-payer, unsigned-payload",
                    key));
  }

  /// False: it is no setting of S3.
  Result<bool> take_s3(const std::string& key, const toml::node& node, fetcher::S3Options& s3) {
    const std::pair<const char*, std::string*> texts[] = {{"endpoint-url", &s3.endpoint_url},
                                                          {"region", &s3.region},
                                                          {"profile", &s3.profile},
                                                          {"addressing", &s3.addressing}};
    for (const auto& [name, value] : texts) {
      if (key != name) continue;
      const auto text = node.value<std::string>();
      if (!text) return wrong(node, key + " must be a string");
      *value = *text;
      if (key != "addressing" || *text == "auto" || *text == "path" || *text == "virtual")
        return true;
      return wrong(node, "addressing '" + *text + "': use auto, path or virtual");
    }
    const std::pair<const char*, bool*> flags[] = {{"no-sign-request", &s3.anonymous},
                                                   {"request-payer", &s3.requester_pays},
                                                   {"unsigned-payload", &s3.unsigned_payload}};
    for (const auto& [name, value] : flags) {
      if (key != name) continue;
      const auto flag = node.as_boolean();
      if (!flag) return wrong(node, key + " must be true or false");
      *value = flag->get();
      return true;
    }
    return false;
  }

  Result<void> take_seconds(const toml::node& node, const std::string& text, std::int64_t& value) {
    const auto seconds = cache::parse_duration_s(text);
    if (!seconds) return wrong(node, seconds.error().context);
    value = *seconds;
    return {};
  }
  Result<void> take_timeout(const toml::node& node, const std::string& text,
                            std::int64_t& value_ms) {
    std::int64_t seconds = 0;
    RC_TRY(take_seconds(node, text, seconds));
    if (seconds == 0) return wrong(node, "at least 1s");
    value_ms = seconds * 1000;
    return {};
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
                                                    const fetcher::OriginOptions& each,
                                                    const DefaultFreshness& freshness) {
  const toml::array* array = node.as_array();
  std::vector<OriginTable> origins;
  for (std::size_t i = 0; array != nullptr && i < array->size(); ++i) {
    const toml::table* table = (*array)[i].as_table();
    if (table == nullptr) break;
    RC_ASSIGN(OriginTable origin, TableReader(*table, place).read(each, freshness));
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
