#pragma once

#include <string>
#include <vector>

#include "base/clock.h"
#include "fetcher/http_request.h"
#include "fetcher/sigv4.h"

namespace rangecache::fetcher {

/// Signs requests to one bucket. The loop's thread only.
class S3Signer final : public RequestSigner {
 public:
  S3Signer(AwsCredentials credentials, std::string region, bool requester_pays, const Clock& clock);
  std::vector<std::string> sign(const HttpRequest& request) override;

 private:
  const AwsCredentials credentials_;
  const bool requester_pays_;
  const Clock& clock_;
  SigV4 sigv4_;
};

}  // namespace rangecache::fetcher
