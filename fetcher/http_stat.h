#pragma once

#include <memory>
#include <string>

#include "base/origin.h"
#include "fetcher/http_endpoint.h"

namespace rangecache::fetcher {

/// Asks what `key` is: HEAD, or a GET of one byte where the server does not take HEAD or its
/// answer to it does not tell the size. See Origin::stat(). On the loop's thread.
void stat_over_http(std::shared_ptr<const HttpEndpoint> endpoint, std::string key, Validator known,
                    Callback<StatResult> done);

}  // namespace rangecache::fetcher
