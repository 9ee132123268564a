#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "fetcher/aws_credentials.h"
#include "fetcher/aws_settings.h"
#include "fetcher/http_request.h"
#include "fetcher/sigv4.h"

namespace rangecache::fetcher {

/// Signs requests to one bucket. Learns the bucket's region, and how wrong this machine's clock is,
/// from refusals.
class S3Signer final : public RequestSigner {
 public:
  S3Signer(std::shared_ptr<CredentialCache> credentials, std::string region, S3Options options,
           const Clock& clock);
  void prepare(UniqueFunction<void(Result<void>)> done) override;
  void sign(HttpRequest& request) override;
  bool learn_from(const HttpResponse& refusal, std::string_view body) override;

 private:
  bool learn_region(const HttpResponse& refusal);
  bool learn_time(const HttpResponse& refusal);

  const std::shared_ptr<CredentialCache> credentials_;
  std::shared_ptr<const AwsCredentials> used_;  ///< for the last signature
  const S3Options options_;
  const Clock& clock_;
  const std::string first_region_;  ///< that URLs have been made for
  std::string region_;
  SigV4 sigv4_;
  std::int64_t skew_s_ = 0;  ///< the service's time less ours
};

}  // namespace rangecache::fetcher
