#include "fetcher/http_origin.h"

#include <fmt/format.h>

#include <utility>

#include "fetcher/freshness.h"
#include "fetcher/http_exchange.h"
#include "fetcher/http_fetch.h"
#include "fetcher/http_stat.h"
#include "fetcher/http_status.h"
#include "fetcher/index_page.h"
#include "fetcher/url.h"

namespace rangecache::fetcher {
namespace {

constexpr std::size_t kMaxListingBytes = 64 * 1024 * 1024;

Error shutting_down() { return Error{ErrorCode::kShuttingDown, "the program is stopping"}; }

Result<ListPage> page_of(const HttpAnswer& answer, const std::string& url,
                         std::int64_t now_unix_s) {
  const HttpResponse& response = answer.response;
  if (response.status != 200) return status_failure(response, url, now_unix_s).error;
  if (has_content_encoding(response.headers))
    return Error{ErrorCode::kUnsupported, url + ": the server encodes its index page"};
  const std::string path = response.url.substr(0, response.url.find_first_of("?#"));
  if (path.empty() || path.back() != '/')
    return Error{ErrorCode::kNotDirectory, url + ": is not a directory"};
  const std::string* type = response.headers.find("content-type");
  const IndexSource source{type ? *type : "", answer.body, response.url};
  if (!looks_like_index(source))
    return Error{ErrorCode::kUnsupported,
                 url +
                     ": the server gives no index page for this directory; switch its index on, "
                     "or name a file"};
  RC_ASSIGN(IndexPage index, parse_index(source));
  ListPage page;
  page.entries = std::move(index.entries);
  page.hidden_entries = index.hidden_entries;
  page.freshness = freshness_of(response.headers, now_unix_s);
  return page;
}

}  // namespace

HttpOrigin::HttpOrigin(HttpEndpoint endpoint)
    : endpoint_(std::make_shared<const HttpEndpoint>(std::move(endpoint))) {}

std::string HttpOrigin::child_key(std::string_view dir_key, std::string_view name,
                                  bool is_directory) const {
  std::string key(dir_key.substr(0, dir_key.find('?')));
  if (!key.empty() && key.back() != '/') key += '/';
  return key + encode_segment(name) + (is_directory ? "/" : "");
}

std::string HttpOrigin::name_of(std::string_view key) const {
  const std::string name = Origin::name_of(key.substr(0, key.find('?')));
  return decode_segment(name).value_or(name);
}

void HttpOrigin::stat(std::string key, Validator known, Callback<StatResult> done) {
  auto shared_done = std::make_shared<Callback<StatResult>>(std::move(done));
  const bool posted = endpoint_->loop.post(
      [endpoint = endpoint_, key = std::move(key), known = std::move(known), shared_done] {
        stat_over_http(endpoint, key, known, std::move(*shared_done));
      });
  if (!posted) (*shared_done)(shutting_down());
}

void HttpOrigin::list(std::string dir_key, std::string, Callback<ListPage> done) {
  if (!dir_key.empty() && dir_key.back() != '/' && dir_key.find('?') == std::string::npos)
    dir_key += '/';
  HttpRequest request = endpoint_->request(dir_key);
  request.headers.push_back("Accept: application/json, text/html");
  auto shared_done = std::make_shared<Callback<ListPage>>(std::move(done));
  const bool posted =
      endpoint_->loop.post([endpoint = endpoint_, request = std::move(request), shared_done] {
        exchange(endpoint, request, {kMaxListingBytes, false},
                 [endpoint, url = request.shown_url, shared_done](Result<HttpAnswer> answer) {
                   if (!answer) return (*shared_done)(std::move(answer.error()));
                   (*shared_done)(page_of(*answer, url, endpoint->clock.unix_s()));
                 });
      });
  if (!posted) (*shared_done)(shutting_down());
}

std::shared_ptr<Transfer> HttpOrigin::fetch(FetchRequest request, std::shared_ptr<FetchSink> sink) {
  return HttpFetch::start(endpoint_, std::move(request), std::move(sink));
}

}  // namespace rangecache::fetcher
