#include "fetcher/origins.h"

#include <algorithm>
#include <utility>

#include "fetcher/http_origin.h"
#include "fetcher/s3_origin.h"
#include "fetcher/s3_signer.h"
#include "fetcher/s3_url.h"
#include "fetcher/url.h"
#include "rangecache/version.h"

namespace rangecache::fetcher {
namespace {

/// How ids name AWS, whatever the region.
constexpr const char* kAwsEndpoint = "https://s3.amazonaws.com";

CurlOptions curl_options(const OriginsOptions& origins) {
  CurlOptions options = origins.http;
  if (options.user_agent.empty()) options.user_agent = "rangecache/" RANGECACHE_VERSION;
  options.max_transfers = origins.each.connection.max_transfers;
  for (const auto& [url, origin] : origins.by_url)
    options.max_transfers = std::max(options.max_transfers, origin.connection.max_transfers);
  return options;
}

std::shared_ptr<const ConnectionOptions> connection_of(const OriginOptions& options) {
  return std::make_shared<const ConnectionOptions>(options.connection);
}

}  // namespace

Origins::Origins(OriginsOptions options, Metrics& metrics)
    : options_(std::move(options)),
      metrics_(metrics),
      origin_metrics_(metrics),
      loop_(curl_options(options_), metrics) {}

Origins::~Origins() { stop(); }

Result<ObjectAddress> Origins::resolve(std::string_view url) {
  if (is_s3_url(url)) return resolve_s3(url);
  RC_ASSIGN(ParsedUrl parsed, parse_url(url));
  MutexLock lock(mu_);
  if (stopped_) return Error{ErrorCode::kShuttingDown, "the program is stopping"};
  if (parsed.is_file) {
    if (!file_) {
      RC_ASSIGN(FileTree tree, FileTree::open("/"));
      file_ = std::make_shared<FileOrigin>(std::move(tree), parsed.origin_id, metrics_);
    }
    return ObjectAddress{file_, std::move(parsed.key)};
  }
  // NUL cannot stand in any of the three.
  const std::string identity = parsed.origin_id + '\0' + parsed.user + '\0' + parsed.password;
  std::shared_ptr<Origin>& origin = http_[identity];
  if (!origin) {
    const OriginOptions& options = options_of(parsed.base_url);
    origin = std::make_shared<HttpOrigin>(HttpEndpoint{
        loop_, parsed.origin_id, parsed.base_url, parsed.user, parsed.password,
        new_health(parsed.origin_id, options), connection_of(options), *options_.clock});
  }
  return ObjectAddress{origin, std::move(parsed.key)};
}

std::shared_ptr<OriginHealth> Origins::new_health(const std::string& name,
                                                  const OriginOptions& options) {
  health_.push_back(std::make_shared<OriginHealth>(name, options.connection.max_transfers,
                                                   options.limits, origin_metrics_));
  return health_.back();
}

std::vector<OriginHealth::Status> Origins::status() {
  std::vector<std::shared_ptr<OriginHealth>> all;
  {
    MutexLock lock(mu_);
    all = health_;
  }
  std::vector<OriginHealth::Status> status;
  for (const auto& health : all) status.push_back(health->status());
  return status;
}

const OriginOptions& Origins::options_of(const std::string& url) const {
  const auto found = options_.by_url.find(url);
  return found == options_.by_url.end() ? options_.each : found->second;
}

std::shared_ptr<CredentialCache> Origins::s3_credentials(const S3Options& options) {
  std::shared_ptr<CredentialCache>& cache = s3_credentials_[options.profile];
  if (!cache)
    cache = std::make_shared<CredentialCache>(
        [this, options] { return find_credentials(options, options_.environment); },
        *options_.clock);
  return cache;
}

Result<ObjectAddress> Origins::resolve_s3(std::string_view url) {
  RC_ASSIGN(const S3Url parsed, parse_s3_url(url));
  MutexLock lock(mu_);
  if (stopped_) return Error{ErrorCode::kShuttingDown, "the program is stopping"};
  const OriginOptions& of_bucket = options_of("s3://" + parsed.bucket);
  S3Options options = of_bucket.s3;
  RC_ASSIGN(const S3Settings configured, resolve_s3_settings(options, options_.environment));
  const std::string configured_endpoint =
      configured.endpoint_url.empty() ? kAwsEndpoint : configured.endpoint_url;
  const std::string& endpoint =
      parsed.endpoint_url.empty() ? configured_endpoint : parsed.endpoint_url;
  // The same bucket name at two services is not one bucket: what is cached says whose it is.
  const std::string id = "s3+" + endpoint + "/" + parsed.bucket;
  std::shared_ptr<Origin>& origin = s3_[id];
  if (!origin) {
    options.endpoint_url = endpoint;
    RC_ASSIGN(S3Settings settings, resolve_s3_settings(options, options_.environment));
    if (settings.endpoint_url == kAwsEndpoint) {
      settings.endpoint_url.clear();
      settings.path_style = options.addressing == "path";
    }
    std::shared_ptr<RequestSigner> signer;
    if (!options.anonymous)
      signer = std::make_shared<S3Signer>(s3_credentials(options), settings.region, options,
                                          *options_.clock);
    const std::string shown = endpoint == configured_endpoint ? "s3://" + parsed.bucket : id;
    origin = std::make_shared<S3Origin>(
        HttpEndpoint{loop_, id, S3Origin::base_url(settings, parsed.bucket), "", "",
                     new_health(shown, of_bucket), connection_of(of_bucket), *options_.clock,
                     signer, std::make_shared<S3Versions>(), shown});
  }
  std::string key = canonical_path_of_raw(parsed.key);
  if (!parsed.version_id.empty()) key += "?versionId=" + encode_segment(parsed.version_id);
  return ObjectAddress{origin, std::move(key)};
}

void Origins::stop() {
  std::shared_ptr<FileOrigin> file;
  {
    MutexLock lock(mu_);
    stopped_ = true;
    file = file_;
  }
  loop_.stop();
  if (file) file->stop();
}

}  // namespace rangecache::fetcher
