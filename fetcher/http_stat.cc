#include "fetcher/http_stat.h"

#include <fmt/format.h>

#include <utility>

#include "fetcher/http_exchange.h"
#include "fetcher/range_response.h"
#include "fetcher/url.h"

namespace rangecache::fetcher {
namespace {

/// The path of `url` without query and fragment.
std::string_view without_query(std::string_view url) {
  return url.substr(0, url.find_first_of("?#"));
}

class HttpStat final : public std::enable_shared_from_this<HttpStat> {
 public:
  HttpStat(std::shared_ptr<const HttpEndpoint> endpoint, std::string key, Validator known,
           Callback<StatResult> done)
      : endpoint_(std::move(endpoint)),
        key_(std::move(key)),
        known_(std::move(known)),
        done_(std::move(done)) {}

  void ask(bool head) {
    HttpRequest request = endpoint_->request(key_);
    request.head = head;
    if (!head) request.headers.push_back("Range: bytes=0-0");
    for (std::string& header : only_if_changed(known_))
      request.headers.push_back(std::move(header));
    const std::size_t kept_body = 64 * 1024;  // of an error page or an ignored range: cut, not kept
    exchange(endpoint_, std::move(request), {kept_body, true},
             [self = shared_from_this(), head](Result<HttpAnswer> answer) {
               if (!answer) return self->done_(std::move(answer.error()));
               self->judge(answer->response, answer->body, head);
             });
  }

 private:
  void judge(const HttpResponse& response, std::string_view body, bool head) {
    const int status = response.status;
    // The body of an error says more, and some refuse HEAD only.
    const bool explains = status == 400 && endpoint_->explain;
    if (head && (status == 403 || status == 405 || status == 501 || explains)) return ask(false);
    const std::int64_t now_unix_s = endpoint_->clock.unix_s();
    StatResult result;
    result.attributes = attributes_of(response.headers, now_unix_s);

    if (status == 304 && known_.kind != Validator::Kind::kNone) {
      // RFC 9111 §4.3.4: a 304 about another version freshens nothing.
      const Validator& said = result.attributes.validator;
      if (said.kind == known_.kind && said != known_) {
        known_ = {};
        return ask(head);
      }
      result.not_modified = true;
      result.attributes.validator = known_;
      return done_(std::move(result));
    }
    const bool empty_object = status == 416 && size_in(response, head) == std::uint64_t{0};
    if ((status < 200 || status > 299) && !empty_object)
      return done_(endpoint_->refusal(response, body, key_));

    result.is_directory = names_directory(response.url);
    if (!result.is_directory) {
      result.attributes.size = size_in(response, head);
      if (head && !result.attributes.size) return ask(false);
    }
    done_(std::move(result));
  }

  /// A key that ends in '/', or that the origin redirects to "<key>/".
  bool names_directory(const std::string& final_url) const {
    const std::string_view path = without_query(key_);
    if (path.empty() || path.back() == '/') return true;
    const std::string asked = endpoint_->url_of(path);
    return canonical_path(without_query(final_url)) == canonical_path(asked + "/");
  }

  static std::optional<std::uint64_t> size_in(const HttpResponse& response, bool head) {
    if (has_content_encoding(response.headers)) return std::nullopt;
    if (!head && (response.status == 206 || response.status == 416)) {
      const std::string* text = response.headers.find("content-range");
      const auto range = text ? parse_content_range(*text) : std::nullopt;
      return range ? range->total : std::nullopt;
    }
    const auto length = content_length(response.headers);
    return length ? *length : std::nullopt;
  }

  const std::shared_ptr<const HttpEndpoint> endpoint_;
  const std::string key_;
  Validator known_;
  Callback<StatResult> done_;
};

}  // namespace

void stat_over_http(std::shared_ptr<const HttpEndpoint> endpoint, std::string key, Validator known,
                    Callback<StatResult> done) {
  std::make_shared<HttpStat>(std::move(endpoint), std::move(key), std::move(known), std::move(done))
      ->ask(true);
}

}  // namespace rangecache::fetcher
