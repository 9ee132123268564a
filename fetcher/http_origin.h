#pragma once

#include <memory>
#include <string>

#include "base/origin.h"
#include "fetcher/http_endpoint.h"

namespace rangecache::fetcher {

/// A web server as an origin. A directory is a URL that ends in '/' and answers with an index page
/// (fetcher/index_page.h). The loop outlives it. After the loop was stopped, callbacks come with
/// kShuttingDown from within the call.
class HttpOrigin final : public Origin {
 public:
  explicit HttpOrigin(HttpEndpoint endpoint);

  const std::string& id() const override { return endpoint_->origin_id; }
  std::string url_of(std::string_view key) const override { return endpoint_->url_of(key); }
  std::string name_of(std::string_view key) const override;
  std::string child_key(std::string_view dir_key, std::string_view name,
                        bool is_directory) const override;
  void stat(std::string key, Validator known, Callback<StatResult> done) override;
  void list(std::string dir_key, std::string token, Callback<ListPage> done) override;
  std::shared_ptr<Transfer> fetch(FetchRequest request, std::shared_ptr<FetchSink> sink) override;

 private:
  const std::shared_ptr<const HttpEndpoint> endpoint_;
};

}  // namespace rangecache::fetcher
