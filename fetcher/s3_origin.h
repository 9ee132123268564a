#pragma once

#include <memory>
#include <string>

#include "base/origin.h"
#include "fetcher/aws_settings.h"
#include "fetcher/http_endpoint.h"

namespace rangecache::fetcher {

/// One bucket of an S3 service as an origin. A key is the object's key with each segment
/// percent-encoded, as it stands in requests; people see it raw. Directories are what
/// ListObjectsV2 makes of '/' in keys: they exist because keys begin with them, or by a marker (an
/// object whose key ends in '/'). Lifetimes and callbacks as HttpOrigin.
class S3Origin final : public Origin {
 public:
  explicit S3Origin(HttpEndpoint endpoint);

  const std::string& id() const override { return endpoint_->origin_id; }
  std::string url_of(std::string_view key) const override;
  std::string child_key(std::string_view dir_key, std::string_view name,
                        bool is_directory) const override;
  void stat(std::string key, Validator known, Callback<StatResult> done) override;
  void list(std::string dir_key, std::string token, Callback<ListPage> done) override;
  std::shared_ptr<Transfer> fetch(FetchRequest request, std::shared_ptr<FetchSink> sink) override;

  /// Where a bucket's requests go.
  static std::string base_url(const S3Settings& settings, const std::string& bucket);

 private:
  const std::shared_ptr<const HttpEndpoint> endpoint_;
};

}  // namespace rangecache::fetcher
