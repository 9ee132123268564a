#include "fetcher/http_status.h"

#include <fmt/format.h>

namespace rangecache::fetcher {

HttpFailure status_failure(const HttpResponse& response, const std::string& url,
                           std::int64_t now_unix_s) {
  const int status = response.status;
  const auto failure = [&](ErrorCode code, bool retryable, std::string_view explanation) {
    return HttpFailure{{code, fmt::format("{}: HTTP {}{}", url, status, explanation)}, retryable};
  };
  switch (status) {
    case 404:
    case 410:
      return failure(ErrorCode::kNotFound, false, "");
    case 401:
      return failure(ErrorCode::kPermissionDenied, false, "; it wants a user and password");
    case 403:
      return failure(ErrorCode::kPermissionDenied, false, "");
    case 412:
      return failure(ErrorCode::kStale, false, "; the object has changed");
    case 304:
      return failure(ErrorCode::kOriginFailed, false, " though nothing was known of it");
    case 408:
    case 429:
      break;
    case 501:
    case 505:
      return failure(ErrorCode::kOriginFailed, false, "");
    default:
      if (status < 500 || status > 599)
        return failure(ErrorCode::kOriginFailed, false, ", which is no answer to this request");
  }
  HttpFailure result = failure(ErrorCode::kOriginFailed, true, "");
  if (const std::string* after = response.headers.find("retry-after"))
    result.retry_after_s = parse_retry_after(*after, now_unix_s);
  return result;
}

}  // namespace rangecache::fetcher
