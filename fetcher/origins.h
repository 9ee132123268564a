#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/mutex.h"
#include "base/origin.h"
#include "fetcher/aws_credentials.h"
#include "fetcher/aws_settings.h"
#include "fetcher/curl_loop.h"
#include "fetcher/file_origin.h"
#include "fetcher/origin_health.h"

namespace rangecache::fetcher {

/// What may differ from one origin to another.
struct OriginOptions {
  ConnectionOptions connection;
  OriginLimits limits;
  S3Options s3;
};

struct OriginsOptions {
  CurlOptions http;  ///< max_transfers is what the origins have
  OriginOptions each;
  std::map<std::string, OriginOptions> by_url;  ///< "https://host", "s3://bucket"; others as `each`
  Environment environment = process_environment();
  const Clock* clock = &system_clock();
};

/// All origins of one daemon: finds the one that a URL belongs to, or makes it. Owns the threads
/// that fetch, so it must outlive every origin that it handed out. Thread-safe.
class Origins {
 public:
  Origins(OriginsOptions options, Metrics& metrics);
  ~Origins();

  /// Makes no request. Two spellings of one URL give the same origin object and key. HTTP: one
  /// origin per scheme, host, port and user. file: one with the root "/". s3: one per endpoint and
  /// bucket.
  Result<ObjectAddress> resolve(std::string_view url) EXCLUDES(mu_);

  /// What is known of each server that was talked to.
  std::vector<OriginHealth::Status> status() EXCLUDES(mu_);

  /// Ends everything that runs with kShuttingDown or kCancelled and joins the threads. What is
  /// asked afterwards is answered with kShuttingDown from within the call. Not from a callback.
  void stop() EXCLUDES(mu_);

 private:
  std::shared_ptr<OriginHealth> new_health(const std::string& name, const OriginOptions& options)
      REQUIRES(mu_);
  Result<ObjectAddress> resolve_s3(std::string_view url) EXCLUDES(mu_);
  std::shared_ptr<CredentialCache> s3_credentials(const S3Options& options) REQUIRES(mu_);
  const OriginOptions& options_of(const std::string& url) const;

  const OriginsOptions options_;
  Metrics& metrics_;
  OriginMetrics origin_metrics_;
  CurlLoop loop_;

  Mutex mu_;
  std::map<std::string, std::shared_ptr<Origin>> http_ GUARDED_BY(mu_);  ///< by id and credentials
  std::map<std::string, std::shared_ptr<Origin>> s3_ GUARDED_BY(mu_);    ///< by id
  /// By profile; looked for at the first request.
  std::map<std::string, std::shared_ptr<CredentialCache>> s3_credentials_ GUARDED_BY(mu_);
  std::shared_ptr<FileOrigin> file_ GUARDED_BY(mu_);
  std::vector<std::shared_ptr<OriginHealth>> health_ GUARDED_BY(mu_);
  bool stopped_ GUARDED_BY(mu_) = false;
};

}  // namespace rangecache::fetcher
