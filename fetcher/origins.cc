#include "fetcher/origins.h"

#include <utility>

#include "fetcher/http_origin.h"
#include "fetcher/url.h"
#include "rangecache/version.h"

namespace rangecache::fetcher {
namespace {

CurlOptions with_defaults(CurlOptions options) {
  if (options.user_agent.empty()) options.user_agent = "rangecache/" RANGECACHE_VERSION;
  return options;
}

}  // namespace

Origins::Origins(OriginsOptions options, Metrics& metrics)
    : options_(std::move(options)),
      metrics_(metrics),
      errors_total_(
          metrics.counter("rangecache_origin_errors_total",
                          "Requests that failed for good: unreachable, timed out, broken")),
      retries_total_(metrics.counter("rangecache_origin_retries_total",
                                     "Requests sent again after a failure that may pass")),
      loop_(with_defaults(options_.http), metrics) {}

Origins::~Origins() { stop(); }

Result<ObjectAddress> Origins::resolve(std::string_view url) {
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
  if (!origin)
    origin = std::make_shared<HttpOrigin>(
        HttpEndpoint{loop_, parsed.origin_id, parsed.base_url, parsed.user, parsed.password,
                     options_.retry, errors_total_, retries_total_, *options_.clock});
  return ObjectAddress{origin, std::move(parsed.key)};
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
