#include "fetcher/aws_settings.h"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <utility>

#include "fetcher/url.h"

namespace rangecache::fetcher {
namespace {

constexpr const char* kDefaultRegion = "us-east-1";

std::string_view trim(std::string_view text) {
  constexpr const char* kSpace = " \t\r";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

/// The first that is not empty.
template <typename... Texts>
std::string first_of(Texts... texts) {
  std::string found;
  ((found.empty() ? void(found = texts) : void()), ...);
  return found;
}

bool is_true(const std::string& text) { return text == "true" || text == "1" || text == "True"; }

/// One profile, as both files together describe it.
class Profile {
 public:
  static Result<Profile> load(const S3Options& options, const Environment& environment) {
    Profile profile;
    const std::string home = environment("HOME");
    profile.config_path_ = first_of(environment("AWS_CONFIG_FILE"), home + "/.aws/config");
    profile.credentials_path_ =
        first_of(environment("AWS_SHARED_CREDENTIALS_FILE"), home + "/.aws/credentials");
    const std::string wanted =
        first_of(options.profile, environment("AWS_PROFILE"), environment("AWS_DEFAULT_PROFILE"));
    profile.name_ = wanted.empty() ? "default" : wanted;
    const IniFile config = read(profile.config_path_);
    const IniFile credentials = read(profile.credentials_path_);
    bool found = profile.take(config, "profile " + profile.name_, profile.config_);
    if (!found && profile.name_ == "default")
      found = profile.take(config, "default", profile.config_);
    found |= profile.take(credentials, profile.name_, profile.credentials_);
    if (!found && !wanted.empty())
      return Error(ErrorCode::kInvalidArgument,
                   fmt::format("the AWS profile '{}' is neither in {} nor in {}", wanted,
                               profile.config_path_, profile.credentials_path_));
    return profile;
  }

  std::string config(std::string_view key) const { return value(config_, key); }
  std::string name() const { return name_; }
  const std::string& credentials_path() const { return credentials_path_; }

  std::optional<AwsCredentials> credentials() const {
    for (const auto* section : {&credentials_, &config_}) {
      AwsCredentials found{value(*section, "aws_access_key_id"),
                           value(*section, "aws_secret_access_key"),
                           value(*section, "aws_session_token")};
      if (!found.access_key_id.empty() && !found.secret_access_key.empty()) return found;
    }
    return std::nullopt;
  }

 private:
  using Section = IniFile::mapped_type;

  static IniFile read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return parse_aws_file(std::string(std::istreambuf_iterator<char>(file), {}));
  }
  static std::string value(const Section& section, std::string_view key) {
    const auto found = section.find(key);
    return found == section.end() ? "" : found->second;
  }
  static bool take(const IniFile& file, const std::string& name, Section& section) {
    const auto found = file.find(name);
    if (found == file.end()) return false;
    section = found->second;
    return true;
  }

  std::string name_, config_path_, credentials_path_;
  Section config_, credentials_;
};

Result<AwsCredentials> find_credentials(const S3Options& options, const Environment& environment,
                                        const Profile& profile) {
  // A profile that was asked for by name goes before variables that happen to be set.
  if (options.profile.empty()) {
    AwsCredentials found{environment("AWS_ACCESS_KEY_ID"), environment("AWS_SECRET_ACCESS_KEY"),
                         environment("AWS_SESSION_TOKEN")};
    if (!found.access_key_id.empty() && !found.secret_access_key.empty()) return found;
    if (found.access_key_id.empty() != found.secret_access_key.empty())
      return Error(ErrorCode::kInvalidArgument,
                   "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set");
  }
  if (auto found = profile.credentials()) return *std::move(found);
  return Error(
      ErrorCode::kPermissionDenied,
      fmt::format("no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                  "or put them under [{}] in {}, or use --no-sign-request for a public "
                  "bucket",
                  profile.name(), profile.credentials_path()));
}

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

Environment process_environment() {
  return [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
}

IniFile parse_aws_file(std::string_view text) {
  IniFile file;
  IniFile::mapped_type* section = nullptr;
  std::string block;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const std::string_view content = trim(line);
    if (content.empty() || content.front() == '#' || content.front() == ';') continue;
    if (content.front() == '[' && content.back() == ']') {
      // "[profile x]" with any space between.
      const std::string_view name = trim(content.substr(1, content.size() - 2));
      const std::size_t space = name.find_first_of(" \t");
      section = &file[space == std::string_view::npos
                          ? std::string(name)
                          : fmt::format("{} {}", name.substr(0, space), trim(name.substr(space)))];
      block.clear();
      continue;
    }
    const std::size_t equals = content.find('=');
    if (section == nullptr || equals == std::string_view::npos) continue;
    const std::string key(trim(content.substr(0, equals)));
    const std::string value(trim(content.substr(equals + 1)));
    const bool indented = line.front() == ' ' || line.front() == '\t';
    if (!indented) block = value.empty() ? key + "." : "";
    (*section)[indented ? block + key : key] = value;
  }
  return file;
}

Result<S3Settings> resolve_s3_settings(const S3Options& options, const Environment& environment) {
  RC_ASSIGN(const Profile profile, Profile::load(options, environment));
  S3Settings settings;
  std::string endpoint = options.endpoint_url;
  if (!is_true(environment("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")))
    endpoint = first_of(endpoint, environment("AWS_ENDPOINT_URL_S3"),
                        environment("AWS_ENDPOINT_URL"), profile.config("endpoint_url"));
  RC_ASSIGN(settings.endpoint_url, checked_endpoint(std::move(endpoint)));
  settings.region =
      first_of(options.region, environment("AWS_REGION"), environment("AWS_DEFAULT_REGION"),
               profile.config("region"), kDefaultRegion);
  std::string addressing = options.addressing;
  if (addressing == "auto") addressing = first_of(profile.config("s3.addressing_style"), "auto");
  // AWS wants the bucket in the host name; few others have the DNS entries for it.
  settings.path_style =
      addressing == "path" || (addressing != "virtual" && !settings.endpoint_url.empty());
  settings.requester_pays = options.requester_pays;
  if (!options.anonymous) {
    RC_ASSIGN(settings.credentials, find_credentials(options, environment, profile));
  }
  return settings;
}

}  // namespace rangecache::fetcher
