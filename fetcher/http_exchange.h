#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "base/origin.h"
#include "fetcher/http_endpoint.h"

namespace rangecache::fetcher {

/// A response that is wanted as a whole: a stat, a listing.
struct HttpAnswer {
  HttpResponse response;
  std::string body;
};

struct ExchangeOptions {
  std::size_t max_body_bytes = 0;
  bool cut_body = false;  ///< a longer body is cut and used; else it is an error
};

/// Sends `request`, again after failures that may pass, and calls `done` once on the loop's thread
/// with whatever status came in the end (an error only when no status came, or one that may be
/// asked again kept coming). Must be called on the loop's thread.
void exchange(std::shared_ptr<const HttpEndpoint> endpoint, HttpRequest request,
              ExchangeOptions options, Callback<HttpAnswer> done);

}  // namespace rangecache::fetcher
