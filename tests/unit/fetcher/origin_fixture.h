#pragma once

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "fetcher/origins.h"
#include "recording_sink.h"
#include "scripted_server.h"

namespace rangecache::fetcher {

using Reply = ScriptedServer::Reply;
using Then = ScriptedServer::Reply::Then;

/// A scripted server and an origin that asks it, with retries that do not wait.
class OriginTest : public ::testing::Test {
 protected:
  OriginsOptions options() {
    OriginsOptions options;
    options.each.limits.retry.base_ms = 1;
    options.each.limits.retry.cap_ms = 2;
    options.each.limits.retry.retry_after_cap_ms = 20;
    return options;
  }

  void serve(std::vector<Reply> script) {
    server_ = std::make_unique<ScriptedServer>(std::move(script));
    if (!origins_) origins_ = std::make_unique<Origins>(options(), metrics_);
  }

  std::shared_ptr<RecordingSink> fetch(ByteRange range, Validator expected = {},
                                       RecordingSink::Behaviour behaviour = {}) {
    auto sink = std::make_shared<RecordingSink>(behaviour);
    const auto address = origins_->resolve(server_->url("/file"));
    transfer_ = address->origin->fetch({address->key, range, std::move(expected)}, sink);
    return sink;
  }

  template <typename T>
  static Result<T> wait_for(std::future<Result<T>> future) {
    if (future.wait_for(std::chrono::seconds(20)) != std::future_status::ready)
      return Error{ErrorCode::kInternal, "the callback never came"};
    return future.get();
  }

  Result<StatResult> stat(const std::string& path, Validator known = {}) {
    const auto address = origins_->resolve(server_->url(path));
    auto promise = std::make_shared<std::promise<Result<StatResult>>>();
    address->origin->stat(address->key, std::move(known),
                          [promise](Result<StatResult> r) { promise->set_value(std::move(r)); });
    return wait_for(promise->get_future());
  }

  Result<ListPage> list(const std::string& path) {
    const auto address = origins_->resolve(server_->url(path));
    auto promise = std::make_shared<std::promise<Result<ListPage>>>();
    address->origin->list(address->key, "",
                          [promise](Result<ListPage> r) { promise->set_value(std::move(r)); });
    return wait_for(promise->get_future());
  }

  std::string header(std::size_t request, const std::string& name) {
    auto requests = server_->requests();
    return request < requests.size() ? requests[request].headers[name] : "<no such request>";
  }

  Metrics metrics_;
  std::unique_ptr<ScriptedServer> server_;  // outlives the origins, which it may wait for
  std::unique_ptr<Origins> origins_;
  std::shared_ptr<Transfer> transfer_;
};

inline const Validator kV1{Validator::Kind::kEtag, "\"v1\""};

/// A correct 206 for `body` at `begin` of an object of `total` bytes.
inline std::string partial(std::uint64_t begin, const std::string& body, std::uint64_t total,
                           const std::string& etag = "\"v1\"") {
  return http_reply(
      "206 Partial Content",
      {"ETag: " + etag, "Content-Range: bytes " + std::to_string(begin) + "-" +
                            std::to_string(begin + body.size() - 1) + "/" + std::to_string(total)},
      body);
}

}  // namespace rangecache::fetcher
