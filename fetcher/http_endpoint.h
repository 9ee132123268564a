#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "fetcher/curl_loop.h"
#include "fetcher/origin_health.h"
#include "fetcher/s3_versions.h"

namespace rangecache::fetcher {

/// What every request to one HTTP origin needs. Constant; shared by the requests that run.
/// The loop outlives it.
struct HttpEndpoint {
  CurlLoop& loop;
  std::string origin_id;
  std::string base_url;
  std::string user;
  std::string password;
  std::shared_ptr<OriginHealth> health;
  std::shared_ptr<const ConnectionOptions> connection;
  const Clock& clock;
  std::shared_ptr<RequestSigner> signer{};
  std::shared_ptr<S3Versions> versions{};  ///< S3 only; the loop's thread
  std::string shown_base{};                ///< "s3://bucket" for messages; empty: base_url

  /// Says more of a refusal, by its body; null: there is no more to say.
  Error (*explain)(const HttpResponse& refusal, std::string_view body, const std::string& url,
                   std::int64_t now_unix_s) = nullptr;

  std::string url_of(std::string_view key) const { return base_url + "/" + std::string(key); }
  /// For messages: without secrets; decoded below a shown_base.
  std::string shown_url_of(std::string_view key) const;
  /// What a status that nobody hoped for means.
  Error refusal(const HttpResponse& response, std::string_view body, std::string_view key) const;
  HttpRequest request(std::string_view key) const;  ///< a GET; of metadata, unless told else
};

/// The conditional header that makes the origin refuse any other version ("If-Match: ..."), or
/// nothing for kinds that cannot be sent.
std::vector<std::string> only_if_version(const Validator& validator);
/// The conditional header that asks for 304 if the object still is that version.
std::vector<std::string> only_if_changed(const Validator& validator);

}  // namespace rangecache::fetcher
