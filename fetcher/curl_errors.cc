#include "fetcher/curl_errors.h"

#include <fmt/format.h>

namespace rangecache::fetcher {

HttpFailure curl_failure(CURLcode code, const std::string& url, std::string_view detail) {
  const std::string reason(detail.empty() ? curl_easy_strerror(code) : detail);
  const auto failure = [&](ErrorCode kind, bool retryable, std::string_view remedy) {
    return HttpFailure{{kind, fmt::format("{}: {}{}", url, reason, remedy)}, retryable};
  };
  switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
      return failure(ErrorCode::kUnreachable, true, "; check the name, or the network");
    case CURLE_COULDNT_CONNECT:
      return failure(ErrorCode::kUnreachable, true, "; check the address, or that the server runs");
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return failure(
          ErrorCode::kUnreachable, false,
          "; the server's certificate or TLS set-up is not accepted (--ca-file trusts more)");
    case CURLE_OPERATION_TIMEDOUT:
      return failure(ErrorCode::kTimedOut, true, "");
    case CURLE_PARTIAL_FILE:
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
      return failure(ErrorCode::kOriginFailed, true, "; the connection broke");
    case CURLE_TOO_MANY_REDIRECTS:
      return failure(ErrorCode::kOriginFailed, false, "; the server redirects in a circle");
    case CURLE_UNSUPPORTED_PROTOCOL:
      return failure(ErrorCode::kOriginFailed, false,
                     "; the server redirects to something other than http or https");
    case CURLE_OUT_OF_MEMORY:
      return failure(ErrorCode::kInternal, false, "");
    default:
      return failure(ErrorCode::kOriginFailed, false, "");
  }
}

HttpFailure refused_redirect(const std::string& url) {
  return {{ErrorCode::kOriginFailed,
           fmt::format("{}: redirects to a link-local address, which is refused", url)},
          false};
}

}  // namespace rangecache::fetcher
