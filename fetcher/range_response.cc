#include "fetcher/range_response.h"

#include <fmt/format.h>

#include <algorithm>

#include "fetcher/freshness.h"
#include "fetcher/http_status.h"

namespace rangecache::fetcher {
namespace {

using Judgement = std::variant<RangeBody, HttpFailure>;

class Judge {
 public:
  Judge(const HttpResponse& response, const RangeQuestion& question, const std::string& url,
        std::int64_t now_unix_s)
      : response_(response), question_(question), url_(url), now_unix_s_(now_unix_s) {}

  Judgement judge() const {
    switch (response_.status) {
      case 200:
        return whole();
      case 206:
        return partial();
      case 416:
        return unsatisfiable();
      default:
        return status_failure(response_, url_, now_unix_s_);
    }
  }

 private:
  Judgement whole() const {
    if (auto failure = unusable_body()) return *failure;
    const auto length = content_length(response_.headers);
    if (!length) return refuse(length.error().context);
    if (!*length) return unknown_size();
    if (changed(**length)) return stale("has changed");
    return body({0, **length}, **length, true);
  }

  Judgement partial() const {
    if (auto failure = unusable_body()) return *failure;
    const std::string* type = response_.headers.find("content-type");
    if (type && type->substr(0, 20) == "multipart/byteranges")
      return refuse("several ranges, where one was asked for");
    const std::string* text = response_.headers.find("content-range");
    if (!text || response_.headers.count("content-range") != 1)
      return refuse("not exactly one Content-Range");
    const auto range = parse_content_range(*text);
    if (!range || !range->range) return refuse(fmt::format("an invalid Content-Range '{}'", *text));
    const auto length = content_length(response_.headers);
    if (!length) return refuse(length.error().context);

    const auto size = range->total ? range->total : question_.size;
    if (!size) return unknown_size();
    if (changed(*size)) return stale("has changed");
    const ByteRange got = *range->range;
    if (got.begin != question_.wanted.begin || got.end > question_.wanted.end)
      return refuse(fmt::format("the range '{}' where bytes {}-{} were asked for", *text,
                                question_.wanted.begin, question_.wanted.end - 1));
    // Of a range whose total is "*" only our own size can tell.
    if (got.end > *size) return stale("has changed: it is longer now");
    if (*length && **length != got.size())
      return refuse("a Content-Length that contradicts its Content-Range");
    return body(got, *size, false);
  }

  Judgement unsatisfiable() const {
    // A server may look at the range before it looks at If-Match: inside a version whose size is
    // known, an unsatisfiable range means another version, and never the end of the file.
    if (question_.size || question_.validator.kind != Validator::Kind::kNone)
      return stale("has changed: it is shorter now");
    const std::string* text = response_.headers.find("content-range");
    const auto range = text ? parse_content_range(*text) : std::nullopt;
    if (!range || range->range) return refuse("HTTP 416 without the object's length");
    if (*range->total > question_.wanted.begin)
      return refuse(fmt::format("HTTP 416 with '{}', which contradicts it", *text));
    return body({*range->total, *range->total}, *range->total, false);
  }

  Judgement body(ByteRange range, std::uint64_t size, bool whole_body) const {
    RangeBody result{range, whole_body, attributes_of(response_.headers, now_unix_s_)};
    result.attributes.size = size;
    return result;
  }

  bool changed(std::uint64_t size) const {
    return !matches(question_.validator, response_.headers) ||
           (question_.size && *question_.size != size);
  }

  std::optional<HttpFailure> unusable_body() const {
    if (!has_content_encoding(response_.headers)) return std::nullopt;
    return HttpFailure{
        {ErrorCode::kUnsupported,
         fmt::format("{}: the server sends Content-Encoding '{}' though identity was asked for; "
                     "ranges of an encoded body are not ranges of the file",
                     url_, response_.headers.joined("content-encoding"))},
        false};
  }
  HttpFailure unknown_size() const {
    return {{ErrorCode::kUnsupported,
             fmt::format("{}: the server does not tell the object's length", url_)},
            false};
  }
  HttpFailure stale(std::string_view what) const {
    return {{ErrorCode::kStale, fmt::format("{}: {} (HTTP {})", url_, what, response_.status)},
            false};
  }
  HttpFailure refuse(std::string_view what) const {
    return {{ErrorCode::kOriginFailed, fmt::format("{}: the answer (HTTP {}) is refused: it has {}",
                                                   url_, response_.status, what)},
            false};
  }

  const HttpResponse& response_;
  const RangeQuestion& question_;
  const std::string& url_;
  const std::int64_t now_unix_s_;
};

}  // namespace

Judgement judge_range_response(const HttpResponse& response, const RangeQuestion& question,
                               const std::string& url, std::int64_t now_unix_s) {
  return Judge(response, question, url, now_unix_s).judge();
}

ObjectAttributes attributes_of(const HttpHeaders& headers, std::int64_t now_unix_s) {
  ObjectAttributes attributes;
  attributes.validator = validator_of(headers);
  if (const std::string* modified = headers.find("last-modified"))
    attributes.modified_s = parse_http_date(*modified);
  attributes.freshness = freshness_of(headers, now_unix_s);
  return attributes;
}

}  // namespace rangecache::fetcher
