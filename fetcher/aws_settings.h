#pragma once

#include <string>

#include "fetcher/aws_profile.h"
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
  bool unsigned_payload = false;  ///< the (empty) body is not covered by the signature
};

/// Where requests go.
struct S3Settings {
  std::string endpoint_url;  ///< "scheme://host[:port][/path]", no slash at the end; empty: AWS
  std::string region;
  bool path_style = false;  ///< "endpoint/bucket/key" instead of "bucket.endpoint/key"
};

/// Options first, then environment, then the profile in AWS's files, in the order of AWS's own
/// tools. Errors name what is wrong and where it was looked for.
Result<S3Settings> resolve_s3_settings(const S3Options& options, const Environment& environment);

/// The profile that is meant: the option's, AWS_PROFILE's, or "default". An error if it was named
/// and is in neither file.
Result<std::string> profile_name(const S3Options& options, const Environment& environment,
                                 const AwsFiles& files);

}  // namespace rangecache::fetcher
