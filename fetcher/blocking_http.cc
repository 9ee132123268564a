#include "fetcher/blocking_http.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <memory>

#include "base/check.h"
#include "fetcher/url.h"

namespace rangecache::fetcher {
namespace {

constexpr std::size_t kMaxBody = 1 << 20;

std::size_t append(char* data, std::size_t, std::size_t count, void* to) {
  auto& body = *static_cast<std::string*>(to);
  if (body.size() + count > kMaxBody) return 0;
  body.append(data, count);
  return count;
}

}  // namespace

Result<BlockingAnswer> ask(const BlockingRequest& request) {
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> easy(curl_easy_init(),
                                                                 curl_easy_cleanup);
  CHECK(easy != nullptr);
  curl_slist* list = nullptr;
  for (const std::string& header : request.headers) list = curl_slist_append(list, header.c_str());
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(list,
                                                                            curl_slist_free_all);
  BlockingAnswer answer;
  CURL* handle = easy.get();
  curl_easy_setopt(handle, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(
      handle, CURLOPT_NOPROXY,
      "169.254.169.254,169.254.170.2,169.254.170.23,fd00:ec2::254,localhost,127.0.0.1");
  curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, request.timeout_ms);
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &append);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &answer.body);
  const CURLcode code = curl_easy_perform(handle);
  if (code != CURLE_OK)
    return Error(ErrorCode::kUnreachable,
                 fmt::format("{}: {}", redact_url(request.url), curl_easy_strerror(code)));
  long status = 0;
  curl_easy_getinfo(handle, CURLINFO_RESPONSE_CODE, &status);
  answer.status = static_cast<int>(status);
  return answer;
}

}  // namespace rangecache::fetcher
