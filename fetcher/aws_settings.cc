#include "fetcher/aws_settings.h"

#include <fmt/format.h>

#include <utility>

#include "fetcher/url.h"

namespace rangecache::fetcher {
namespace {

constexpr const char* kDefaultRegion = "us-east-1";

/// The first that is not empty.
template <typename... Texts>
std::string first_of(Texts... texts) {
  std::string found;
  ((found.empty() ? void(found = texts) : void()), ...);
  return found;
}

bool is_true(const std::string& text) { return text == "true" || text == "1" || text == "True"; }

Result<std::string> checked_endpoint(std::string url) {
  if (url.empty()) return url;
  auto parsed = parse_url(url);
  if (!parsed || parsed->is_file || !parsed->user.empty() || url.find('?') != std::string::npos)
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("the S3 endpoint '{}' is not a URL like https://host:port", redact_url(url)));
  std::string text = parsed->base_url;
  if (!parsed->key.empty()) text += "/" + parsed->key;
  while (text.back() == '/') text.pop_back();
  return text;
}

}  // namespace

Result<std::string> profile_name(const S3Options& options, const Environment& environment,
                                 const AwsFiles& files) {
  const std::string wanted =
      first_of(options.profile, environment("AWS_PROFILE"), environment("AWS_DEFAULT_PROFILE"));
  if (wanted.empty()) return std::string("default");
  if (files.has_profile(wanted)) return wanted;
  return Error(ErrorCode::kInvalidArgument,
               fmt::format("the AWS profile '{}' is neither in {} nor in {}", wanted,
                           files.config_path, files.credentials_path));
}

Result<S3Settings> resolve_s3_settings(const S3Options& options, const Environment& environment) {
  const AwsFiles files = AwsFiles::read(environment);
  RC_ASSIGN(const std::string profile, profile_name(options, environment, files));
  S3Settings settings;
  std::string endpoint = options.endpoint_url;
  if (!is_true(environment("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")))
    endpoint = first_of(endpoint, environment("AWS_ENDPOINT_URL_S3"),
                        environment("AWS_ENDPOINT_URL"), files.config(profile, "endpoint_url"));
  RC_ASSIGN(settings.endpoint_url, checked_endpoint(std::move(endpoint)));
  settings.region =
      first_of(options.region, environment("AWS_REGION"), environment("AWS_DEFAULT_REGION"),
               files.config(profile, "region"), kDefaultRegion);
  std::string addressing = options.addressing;
  if (addressing == "auto")
    addressing = first_of(files.config(profile, "s3.addressing_style"), "auto");
  // AWS wants the bucket in the host name; few others have the DNS entries for it.
  settings.path_style =
      addressing == "path" || (addressing != "virtual" && !settings.endpoint_url.empty());
  return settings;
}

}  // namespace rangecache::fetcher
