#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "fetcher/sigv4.h"
#include "rangecache/result.h"

namespace rangecache::fetcher {

/// What the user says of S3; what is empty comes from the environment and AWS's files.
struct S3Options {
  std::string endpoint_url;
  std::string region;
  std::string profile;
  std::string addressing = "auto";  ///< auto, path or virtual
  bool anonymous = false;           ///< requests are not signed
  bool requester_pays = false;
};

/// Where requests go, and who sends them.
struct S3Settings {
  std::string endpoint_url;  ///< "scheme://host[:port][/path]", no slash at the end; empty: AWS
  std::string region;
  bool path_style = false;  ///< "endpoint/bucket/key" instead of "bucket.endpoint/key"
  bool requester_pays = false;
  std::optional<AwsCredentials> credentials;  ///< nullopt: anonymous
};

/// An environment variable's value; empty if it is not set.
using Environment = std::function<std::string(const char* name)>;
Environment process_environment();

/// Options first, then environment, then the profile in AWS's shared files (AWS_CONFIG_FILE,
/// AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/config and ~/.aws/credentials), in the order of AWS's
/// own tools. Reads the files each time. Errors name what is missing and where it was looked for.
Result<S3Settings> resolve_s3_settings(const S3Options& options, const Environment& environment);

/// Sections and their keys; keys of nested blocks ("s3 =" and indented lines) as "s3.key".
using IniFile = std::map<std::string, std::map<std::string, std::string, std::less<>>>;
IniFile parse_aws_file(std::string_view text);

}  // namespace rangecache::fetcher
