#include "fetcher/s3_origin.h"

#include <fmt/format.h>

#include <utility>

#include "fetcher/http_exchange.h"
#include "fetcher/http_fetch.h"
#include "fetcher/http_stat.h"
#include "fetcher/s3_xml.h"
#include "fetcher/url.h"

namespace rangecache::fetcher {
namespace {

constexpr std::size_t kMaxListingBytes = 16 * 1024 * 1024;  // a page has at most 1,000 keys

Error shutting_down() { return Error{ErrorCode::kShuttingDown, "the program is stopping"}; }

/// The raw bytes of a key: what was made of them by canonical_path_of_raw().
std::string raw_of(std::string_view key) { return decode_segment(key).value_or(std::string(key)); }

using Endpoint = std::shared_ptr<const HttpEndpoint>;

/// Asks for one page of what begins with the raw `prefix`. On the loop's thread.
void list_page(const Endpoint& endpoint, const std::string& prefix, const std::string& token,
               int max_keys, std::string shown, Callback<S3ListPage> done) {
  std::string query = "?list-type=2&delimiter=%2F&encoding-type=url";
  if (max_keys > 0) query += fmt::format("&max-keys={}", max_keys);
  if (!prefix.empty()) query += "&prefix=" + encode_segment(prefix);
  if (!token.empty()) query += "&continuation-token=" + encode_segment(token);
  auto shared_done = std::make_shared<Callback<S3ListPage>>(std::move(done));
  HttpRequest request = endpoint->request(query);
  request.shown_url = shown;
  exchange(endpoint, std::move(request), {kMaxListingBytes, false},
           [endpoint, prefix, shown = std::move(shown), shared_done](Result<HttpAnswer> answer) {
             if (!answer) return (*shared_done)(std::move(answer.error()));
             if (answer->response.status != 200)
               return (*shared_done)(
                   s3_failure(answer->response, answer->body, shown, endpoint->clock.unix_s()));
             auto page = parse_s3_listing(answer->body, prefix);
             if (!page)
               return (*shared_done)(Error{page.error().code, shown + ": " + page.error().context});
             (*shared_done)(std::move(page));
           });
}

/// Whether anything begins with the raw `prefix`.
void stat_directory(const Endpoint& endpoint, const std::string& prefix, const std::string& shown,
                    Callback<StatResult> done) {
  auto shared_done = std::make_shared<Callback<StatResult>>(std::move(done));
  list_page(
      endpoint, prefix, "", 1, shown, [prefix, shown, shared_done](Result<S3ListPage> listed) {
        if (!listed) return (*shared_done)(std::move(listed.error()));
        const ListPage& page = listed->page;
        const bool exists = prefix.empty() || listed->has_marker || !page.entries.empty() ||
                            page.hidden_entries > 0;
        if (!exists)
          return (*shared_done)(Error{ErrorCode::kNotFound, shown + ": there is no such object"});
        StatResult result;
        result.is_directory = true;
        (*shared_done)(std::move(result));
      });
}

}  // namespace

S3Origin::S3Origin(HttpEndpoint endpoint)
    : endpoint_([&] {
        endpoint.explain = &s3_failure;
        return std::make_shared<const HttpEndpoint>(std::move(endpoint));
      }()) {}

std::string S3Origin::base_url(const S3Settings& settings, const std::string& bucket) {
  const std::string service = settings.endpoint_url.empty()
                                  ? fmt::format("https://s3.{}.amazonaws.com", settings.region)
                                  : settings.endpoint_url;
  // A dot in the name would not match the server's certificate for "*.s3...".
  const bool in_path = settings.path_style || bucket.find('.') != std::string::npos ||
                       bucket.find('_') != std::string::npos;
  if (in_path) return service + "/" + bucket;
  const std::size_t host = service.find("://") + 3;
  return service.substr(0, host) + bucket + "." + service.substr(host);
}

std::string S3Origin::url_of(std::string_view key) const { return endpoint_->shown_url_of(key); }

std::string S3Origin::child_key(std::string_view dir_key, std::string_view name,
                                bool is_directory) const {
  std::string key(dir_key);
  if (!key.empty() && key.back() != '/') key += '/';
  return key + encode_segment(name) + (is_directory ? "/" : "");
}

void S3Origin::stat(std::string key, Validator known, Callback<StatResult> done) {
  auto shared_done = std::make_shared<Callback<StatResult>>(std::move(done));
  const bool posted = endpoint_->loop.post(
      [endpoint = endpoint_, key, known = std::move(known), shown = url_of(key), shared_done] {
        const std::string raw = raw_of(key);
        if (raw.empty() || raw.back() == '/')
          return stat_directory(endpoint, raw, shown, std::move(*shared_done));
        // What is no object may be a directory.
        stat_over_http(endpoint, key, known,
                       [endpoint, key, raw, shown, shared_done](Result<StatResult> result) {
                         // A version by name is no directory.
                         if (result || result.error().code != ErrorCode::kNotFound ||
                             key.find('?') != std::string::npos)
                           return (*shared_done)(std::move(result));
                         stat_directory(endpoint, raw + "/", shown, std::move(*shared_done));
                       });
      });
  if (!posted) (*shared_done)(shutting_down());
}

void S3Origin::list(std::string dir_key, std::string token, Callback<ListPage> done) {
  if (!dir_key.empty() && dir_key.back() != '/') dir_key += '/';
  auto shared_done = std::make_shared<Callback<ListPage>>(std::move(done));
  const bool posted =
      endpoint_->loop.post([endpoint = endpoint_, prefix = raw_of(dir_key),
                            token = std::move(token), shown = url_of(dir_key), shared_done] {
        list_page(endpoint, prefix, token, 0, shown,
                  [prefix, token, shown, shared_done](Result<S3ListPage> listed) {
                    if (!listed) return (*shared_done)(std::move(listed.error()));
                    const ListPage& page = listed->page;
                    const bool nothing = page.entries.empty() && page.hidden_entries == 0 &&
                                         page.next_token.empty() && token.empty();
                    if (nothing && !prefix.empty() && !listed->has_marker)
                      return (*shared_done)(
                          Error{ErrorCode::kNotFound, shown + ": there is no such directory"});
                    (*shared_done)(std::move(listed->page));
                  });
      });
  if (!posted) (*shared_done)(shutting_down());
}

std::shared_ptr<Transfer> S3Origin::fetch(FetchRequest request, std::shared_ptr<FetchSink> sink) {
  return HttpFetch::start(endpoint_, std::move(request), std::move(sink));
}

}  // namespace rangecache::fetcher
