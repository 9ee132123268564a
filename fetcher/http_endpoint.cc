#include "fetcher/http_endpoint.h"

#include "fetcher/http_status.h"
#include "fetcher/url.h"

namespace rangecache::fetcher {

std::string HttpEndpoint::shown_url_of(std::string_view key) const {
  if (shown_base.empty()) return redact_url(url_of(key));
  return shown_base + "/" + decode_segment(key).value_or(std::string(key));
}

Error HttpEndpoint::refusal(const HttpResponse& response, std::string_view body,
                            std::string_view key) const {
  const std::string url = shown_url_of(key);
  return explain ? explain(response, body, url, clock.unix_s())
                 : status_failure(response, url, clock.unix_s()).error;
}

HttpRequest HttpEndpoint::request(std::string_view key) const {
  HttpRequest request;
  request.health = health;
  request.connection = connection;
  request.url = url_of(key);
  request.shown_url = shown_url_of(key);
  request.user = user;
  request.password = password;
  request.signer = signer;
  request.headers = {"Accept-Encoding: identity"};
  return request;
}

std::vector<std::string> only_if_version(const Validator& validator) {
  if (validator.kind == Validator::Kind::kEtag) return {"If-Match: " + validator.value};
  if (validator.kind == Validator::Kind::kLastModified)
    return {"If-Unmodified-Since: " + validator.value};
  return {};
}

std::vector<std::string> only_if_changed(const Validator& validator) {
  if (validator.kind == Validator::Kind::kEtag) return {"If-None-Match: " + validator.value};
  if (validator.kind == Validator::Kind::kLastModified)
    return {"If-Modified-Since: " + validator.value};
  return {};
}

}  // namespace rangecache::fetcher
