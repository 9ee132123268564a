#include "fetcher/s3_signer.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/log.h"
#include "fetcher/http_headers.h"
#include "fetcher/s3_xml.h"

namespace rangecache::fetcher {
namespace {

constexpr std::string_view kUnsignedPayload = "UNSIGNED-PAYLOAD";
constexpr std::int64_t kMaxSkew_s = 300;  // S3 refuses more than fifteen minutes

bool is_region(const std::string& text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

}  // namespace

S3Signer::S3Signer(std::shared_ptr<CredentialCache> credentials, std::string region,
                   S3Options options, const Clock& clock)
    : credentials_(std::move(credentials)),
      options_(std::move(options)),
      clock_(clock),
      first_region_(region),
      region_(region),
      sigv4_(std::move(region)) {}

void S3Signer::prepare(UniqueFunction<void(Result<void>)> done) {
  credentials_->prepare(std::move(done));
}

void S3Signer::sign(HttpRequest& request) {
  if (region_ != first_region_) {
    // AWS has a host for each region.
    const std::string from = "s3." + first_region_ + ".amazonaws.com";
    const std::size_t at = request.url.find(from);
    if (at != std::string::npos && at < request.url.find('/', request.url.find("://") + 3))
      request.url.replace(at, from.size(), "s3." + region_ + ".amazonaws.com");
  }
  const std::string_view url = request.url;
  const std::size_t host = url.find("://") + 3;
  const std::size_t path = std::min(url.find_first_of("/?", host), url.size());
  const std::size_t query = std::min(url.find('?', path), url.size());
  const std::int64_t now = clock_.unix_s() + skew_s_;

  const auto credentials = used_ = credentials_->current();
  SigV4::Request wanted;
  wanted.method = request.head ? "HEAD" : "GET";
  wanted.path = query > path ? url.substr(path, query - path) : "/";
  wanted.query = url.substr(std::min(query + 1, url.size()));
  wanted.payload_hash = options_.unsigned_payload ? kUnsignedPayload : SigV4::kEmptyPayload;
  // S3 wants the host and all of x-amz-* signed; Range and conditions need not be.
  wanted.headers = {{"x-amz-content-sha256", std::string(wanted.payload_hash)},
                    {"x-amz-date", SigV4::timestamp(now)}};
  if (!credentials->session_token.empty())
    wanted.headers.emplace_back("x-amz-security-token", credentials->session_token);
  // Without it AWS tells no checksums.
  wanted.headers.emplace_back("x-amz-checksum-mode", "ENABLED");
  if (options_.requester_pays) wanted.headers.emplace_back("x-amz-request-payer", "requester");

  for (const auto& [name, value] : wanted.headers) request.headers.push_back(name + ": " + value);
  // libcurl sends it itself, without a default port; so the URL has it (see parse_url()).
  wanted.headers.emplace_back("host", std::string(url.substr(host, path - host)));
  request.headers.push_back("Authorization: " + sigv4_.authorization(wanted, *credentials, now));
}

bool S3Signer::learn_from(const HttpResponse& refusal, std::string_view body) {
  if (learn_region(refusal)) return true;
  const auto said = parse_s3_error(body);
  if (said && (said->code == "ExpiredToken" || said->code == "TokenRefreshRequired")) {
    credentials_->expired(used_);
    return true;
  }
  return learn_time(refusal);
}

bool S3Signer::learn_region(const HttpResponse& refusal) {
  const std::string* region = refusal.headers.find("x-amz-bucket-region");
  if (!region || *region == region_ || !is_region(*region)) return false;
  log_info("the bucket is in the region {}, not in {}", *region, region_);
  region_ = *region;
  sigv4_ = SigV4(region_);
  return true;
}

bool S3Signer::learn_time(const HttpResponse& refusal) {
  if (refusal.status != 400 && refusal.status != 403) return false;
  const std::string* date = refusal.headers.find("date");
  const auto service_time = date ? parse_http_date(*date) : std::nullopt;
  if (!service_time) return false;
  const std::int64_t skew_s = *service_time - clock_.unix_s();
  if (std::abs(skew_s - skew_s_) < kMaxSkew_s) return false;
  log_warning("this machine's clock is {} s off that of the S3 service: requests carry the latter",
              skew_s);
  skew_s_ = skew_s;
  return true;
}

}  // namespace rangecache::fetcher
