#pragma once

#include <string>
#include <vector>

#include "rangecache/result.h"

namespace rangecache::fetcher {

/// One small question to a service of the cloud that this machine is in. Redirects are not
/// followed, and link-local addresses are asked without a proxy.
struct BlockingRequest {
  std::string method = "GET";
  std::string url;
  std::vector<std::string> headers;  ///< "Name: value"
  long timeout_ms = 5'000;
};
struct BlockingAnswer {
  int status = 0;
  std::string body;  ///< at most 1 MiB
};
/// An error if there was no answer; it names host and cause, and no header.
Result<BlockingAnswer> ask(const BlockingRequest& request);

}  // namespace rangecache::fetcher
