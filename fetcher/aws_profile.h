#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "rangecache/result.h"

namespace rangecache::fetcher {

/// An environment variable's value; empty if it is not set.
using Environment = std::function<std::string(const char* name)>;
Environment process_environment();

/// Sections and their keys; keys of nested blocks ("s3 =" and indented lines) as "s3.key".
using IniFile = std::map<std::string, std::map<std::string, std::string, std::less<>>>;
IniFile parse_aws_file(std::string_view text);

/// AWS's two shared files (AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/config and
/// ~/.aws/credentials) as they were when read.
class AwsFiles {
 public:
  static AwsFiles read(const Environment& environment);

  bool has_profile(const std::string& name) const;
  /// The value in ~/.aws/config; empty if there is none.
  std::string config(const std::string& profile, std::string_view key) const;
  /// The same in ~/.aws/credentials.
  std::string credential(const std::string& profile, std::string_view key) const;
  /// Of a "[sso-session x]" section.
  std::string sso_session(const std::string& session, std::string_view key) const;

  std::string config_path, credentials_path;

 private:
  std::string section_of(const std::string& profile) const;
  IniFile config_, credentials_;
};

}  // namespace rangecache::fetcher
