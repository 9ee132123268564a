#pragma once

#include <cstdint>
#include <string>

#include "fetcher/http_request.h"

namespace rangecache::fetcher {

/// What a response of a status that nobody hoped for means. Pure. `url` is fit to be shown.
/// Only 404 and 410 say that an object does not exist; 408, 429 and most of 5xx may be asked again.
HttpFailure status_failure(const HttpResponse& response, const std::string& url,
                           std::int64_t now_unix_s);

}  // namespace rangecache::fetcher
