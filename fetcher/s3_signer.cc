#include "fetcher/s3_signer.h"

#include <utility>

namespace rangecache::fetcher {

S3Signer::S3Signer(AwsCredentials credentials, std::string region, bool requester_pays,
                   const Clock& clock)
    : credentials_(std::move(credentials)),
      requester_pays_(requester_pays),
      clock_(clock),
      sigv4_(std::move(region)) {}

std::vector<std::string> S3Signer::sign(const HttpRequest& request) {
  const std::string_view url = request.url;
  const std::size_t host = url.find("://") + 3;
  const std::size_t path = std::min(url.find_first_of("/?", host), url.size());
  const std::size_t query = std::min(url.find('?', path), url.size());
  const std::int64_t now = clock_.unix_s();

  SigV4::Request wanted;
  wanted.method = request.head ? "HEAD" : "GET";
  wanted.path = query > path ? url.substr(path, query - path) : "/";
  wanted.query = url.substr(std::min(query + 1, url.size()));
  wanted.payload_hash = SigV4::kEmptyPayload;
  // S3 wants the host and all of x-amz-* signed; Range and conditions need not be.
  wanted.headers = {{"x-amz-content-sha256", std::string(SigV4::kEmptyPayload)},
                    {"x-amz-date", SigV4::timestamp(now)}};
  if (!credentials_.session_token.empty())
    wanted.headers.emplace_back("x-amz-security-token", credentials_.session_token);
  if (requester_pays_) wanted.headers.emplace_back("x-amz-request-payer", "requester");

  std::vector<std::string> headers;
  for (const auto& [name, value] : wanted.headers) headers.push_back(name + ": " + value);
  // libcurl sends it itself, without a default port; so the URL has it (see parse_url()).
  wanted.headers.emplace_back("host", std::string(url.substr(host, path - host)));
  headers.push_back("Authorization: " + sigv4_.authorization(wanted, credentials_, now));
  return headers;
}

}  // namespace rangecache::fetcher
