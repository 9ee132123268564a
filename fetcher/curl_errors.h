#pragma once

#include <curl/curl.h>

#include <string>
#include <string_view>

#include "fetcher/http_request.h"

namespace rangecache::fetcher {

/// libcurl's `code` (not CURLE_OK) in the project's terms, with the remedy where there is one.
/// `url` is fit to be shown; `detail` is what libcurl says, or empty.
HttpFailure curl_failure(CURLcode code, const std::string& url, std::string_view detail);

/// A redirect led to an address that only this machine's neighbours should ask.
HttpFailure refused_redirect(const std::string& url);

}  // namespace rangecache::fetcher
