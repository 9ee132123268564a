#include "fetcher/aws_credentials.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/log.h"
#include "fetcher/blocking_http.h"
#include "fetcher/index_parsers.h"
#include "fetcher/run_command.h"
#include "fetcher/s3_xml.h"
#include "fetcher/url.h"

namespace rangecache::fetcher {
namespace {

using Json = nlohmann::json;
using Found = Result<std::optional<TimedCredentials>>;

constexpr int kMaxRoleDepth = 5;
constexpr std::int64_t kRenewBefore_s = 600;
constexpr auto kPatience = std::chrono::seconds(60);  // with a credential_process
constexpr std::int64_t kTryAgainAfter_s = 30;
constexpr std::int64_t kTrySoonAgainAfter_s = 5;  // while there are none at all

Error broken(std::string text) { return Error(ErrorCode::kInvalidArgument, std::move(text)); }

std::string trimmed(std::string text) {
  text.erase(text.find_last_not_of(" \t\r\n") + 1);
  return text;
}

Result<std::string> contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return broken("cannot read " + path);
  return trimmed(std::string(std::istreambuf_iterator<char>(file), {}));
}

/// AccessKeyId, SecretAccessKey, Token or SessionToken, Expiration: what processes, containers and
/// instances answer.
Found from_json(const std::string& text, const std::string& source) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto field = [&](const char* name) {
    const auto found = json.is_object() ? json.find(name) : json.end();
    return found != json.end() && found->is_string() ? found->get<std::string>() : "";
  };
  TimedCredentials found;
  found.keys = {field("AccessKeyId"), field("SecretAccessKey"), field("SessionToken")};
  if (found.keys.session_token.empty()) found.keys.session_token = field("Token");
  if (found.keys.access_key_id.empty() || found.keys.secret_access_key.empty())
    return broken(source + " gives no credentials");
  if (const std::string expires = field("Expiration"); !expires.empty())
    found.expires_s = parse_iso_time(expires);
  return std::optional(std::move(found));
}

std::string sha1_hex(std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int length = 0;
  std::string hex;
  if (EVP_Digest(text.data(), text.size(), digest.data(), &length, EVP_sha1(), nullptr) == 1) {
    for (unsigned int i = 0; i < length; ++i) hex += fmt::format("{:02x}", digest[i]);
  }
  return hex;
}

/// The chain, for one state of the files and the environment.
class Finder {
 public:
  Finder(const S3Options& options, const Environment& environment)
      : options_(options), environment_(environment), files_(AwsFiles::read(environment)) {}

  Result<TimedCredentials> find() {
    RC_ASSIGN(const std::string profile, profile_name(options_, environment_, files_));
    region_ = options_.region;
    for (const char* name : {"AWS_REGION", "AWS_DEFAULT_REGION"})
      if (region_.empty()) region_ = environment_(name);
    if (region_.empty()) region_ = files_.config(profile, "region");

    if (options_.profile.empty()) {
      RC_ASSIGN(auto found, from_environment());
      if (found) return *std::move(found);
    }
    RC_ASSIGN(auto found, of_profile(profile, kMaxRoleDepth));
    if (!found) {
      RC_ASSIGN(found, from_container());
    }
    if (!found) {
      RC_ASSIGN(found, from_instance());
    }
    if (found) return *std::move(found);
    return Error(
        ErrorCode::kInvalidArgument,
        fmt::format("no credentials for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                    "put them under [{}] in {}, or use --no-sign-request for a public bucket",
                    profile, files_.credentials_path));
  }

 private:
  Found from_environment() {
    AwsCredentials keys{environment_("AWS_ACCESS_KEY_ID"), environment_("AWS_SECRET_ACCESS_KEY"),
                        environment_("AWS_SESSION_TOKEN")};
    if (keys.access_key_id.empty() != keys.secret_access_key.empty())
      return broken("only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set");
    if (keys.access_key_id.empty()) return std::optional<TimedCredentials>();
    return std::optional(TimedCredentials{std::move(keys), {}});
  }

  Found of_profile(const std::string& profile, int depth) {
    if (!files_.config(profile, "role_arn").empty() &&
        files_.config(profile, "web_identity_token_file").empty())
      return assume_role(profile, depth);
    using Step = Found (Finder::*)(const std::string&);
    for (const Step step :
         {&Finder::from_web_identity, &Finder::from_sso, &Finder::from_credentials_file,
          &Finder::from_process, &Finder::from_config_file}) {
      RC_ASSIGN(auto found, (this->*step)(profile));
      if (found) return found;
    }
    return std::optional<TimedCredentials>();
  }

  Found from_credentials_file(const std::string& profile) {
    return keys_in(profile, &AwsFiles::credential);
  }
  Found from_config_file(const std::string& profile) { return keys_in(profile, &AwsFiles::config); }
  Found keys_in(const std::string& profile,
                std::string (AwsFiles::*value)(const std::string&, std::string_view) const) {
    AwsCredentials keys{(files_.*value)(profile, "aws_access_key_id"),
                        (files_.*value)(profile, "aws_secret_access_key"),
                        (files_.*value)(profile, "aws_session_token")};
    if (keys.access_key_id.empty() || keys.secret_access_key.empty())
      return std::optional<TimedCredentials>();
    return std::optional(TimedCredentials{std::move(keys), {}});
  }

  Found from_process(const std::string& profile) {
    const std::string command = files_.config(profile, "credential_process");
    if (command.empty()) return std::optional<TimedCredentials>();
    const std::string source = fmt::format("the credential_process of the profile '{}'", profile);
    const auto output = run_command(command, kPatience);
    if (!output) return broken(fmt::format("{} {}", source, output.error().context));
    return from_json(*output, source);
  }

  Found assume_role(const std::string& profile, int depth) {
    if (depth == 0)
      return broken(fmt::format("the profile '{}': its source_profiles go in a circle", profile));
    const std::string source = files_.config(profile, "source_profile");
    const std::string place = files_.config(profile, "credential_source");
    Found base = std::optional<TimedCredentials>();
    if (source == profile) {
      base = keys_in(profile, &AwsFiles::credential);
    } else if (!source.empty()) {
      if (!files_.has_profile(source))
        return broken(
            fmt::format("the profile '{}': its source_profile '{}' is nowhere", profile, source));
      base = of_profile(source, depth - 1);
    } else if (place == "Environment") {
      base = from_environment();
    } else if (place == "EcsContainer") {
      base = from_container();
    } else if (place == "Ec2InstanceMetadata") {
      base = from_instance();
    }
    RC_ASSIGN(auto credentials, std::move(base));
    if (!credentials)
      return broken(
          fmt::format("the profile '{}' has a role_arn, and no credentials to assume it "
                      "with: set source_profile or credential_source",
                      profile));
    std::string query = "Action=AssumeRole";
    if (const std::string id = files_.config(profile, "external_id"); !id.empty())
      query += "&ExternalId=" + encode_segment(id);
    return from_sts(query, profile, files_.config(profile, "role_arn"),
                    files_.config(profile, "role_session_name"), &credentials->keys);
  }

  Found from_web_identity(const std::string& profile) {
    std::string token_file = files_.config(profile, "web_identity_token_file");
    std::string role = files_.config(profile, "role_arn");
    std::string session = files_.config(profile, "role_session_name");
    if (token_file.empty()) {
      token_file = environment_("AWS_WEB_IDENTITY_TOKEN_FILE");
      role = environment_("AWS_ROLE_ARN");
      session = environment_("AWS_ROLE_SESSION_NAME");
    }
    if (token_file.empty() || role.empty()) return std::optional<TimedCredentials>();
    RC_ASSIGN(const std::string token, contents(token_file));
    return from_sts("Action=AssumeRoleWithWebIdentity&WebIdentityToken=" + encode_segment(token),
                    profile, role, session, nullptr);
  }

  /// `keys`: whose signature the request has; null: none is wanted.
  Found from_sts(std::string query, const std::string& profile, const std::string& role,
                 const std::string& session, const AwsCredentials* keys) {
    query += "&RoleArn=" + encode_segment(role) +
             "&RoleSessionName=" + encode_segment(session.empty() ? "rangecached" : session) +
             "&Version=2011-06-15";
    const std::string region = region_.empty() ? "us-east-1" : region_;
    std::string endpoint = environment_("AWS_ENDPOINT_URL_STS");
    if (endpoint.empty()) endpoint = fmt::format("https://sts.{}.amazonaws.com", region);
    while (endpoint.back() == '/') endpoint.pop_back();
    BlockingRequest request;
    request.url = endpoint + "/?" + query;
    if (keys != nullptr) {
      const std::int64_t now = system_clock().unix_s();
      SigV4::Request wanted{"GET", "/", query, {}, SigV4::kEmptyPayload};
      wanted.headers = {{"host", endpoint.substr(endpoint.find("://") + 3)},
                        {"x-amz-date", SigV4::timestamp(now)}};
      if (!keys->session_token.empty())
        wanted.headers.emplace_back("x-amz-security-token", keys->session_token);
      for (std::size_t i = 1; i < wanted.headers.size(); ++i)
        request.headers.push_back(wanted.headers[i].first + ": " + wanted.headers[i].second);
      request.headers.push_back("Authorization: " +
                                SigV4(region, "sts").authorization(wanted, *keys, now));
    }
    RC_ASSIGN(const BlockingAnswer answer, ask(request));
    auto texts = xml_texts(answer.body);
    if (answer.status != 200)
      return Error(ErrorCode::kPermissionDenied,
                   fmt::format("the role {} of the profile '{}' was not granted: HTTP {} {} {}",
                               role, profile, answer.status, texts["Code"], texts["Message"]));
    TimedCredentials found{{texts["AccessKeyId"], texts["SecretAccessKey"], texts["SessionToken"]},
                           parse_iso_time(texts["Expiration"])};
    if (found.keys.access_key_id.empty() || found.keys.secret_access_key.empty())
      return broken(endpoint + " gives no credentials");
    return std::optional(std::move(found));
  }

  /// With the token that `aws sso login` has left; logging in is not our business.
  Found from_sso(const std::string& profile) {
    const std::string account = files_.config(profile, "sso_account_id");
    const std::string role = files_.config(profile, "sso_role_name");
    if (account.empty() || role.empty()) return std::optional<TimedCredentials>();
    const std::string session = files_.config(profile, "sso_session");
    const std::string name = session.empty() ? files_.config(profile, "sso_start_url") : session;
    const std::string region = session.empty() ? files_.config(profile, "sso_region")
                                               : files_.sso_session(session, "sso_region");
    const std::string path = environment_("HOME") + "/.aws/sso/cache/" + sha1_hex(name) + ".json";
    const auto text = contents(path);
    const Json json = Json::parse(text ? *text : "", nullptr, false);
    const std::string login =
        fmt::format("the profile '{}' uses SSO: run aws sso login --profile {}", profile, profile);
    if (!json.is_object() || !json.contains("accessToken") || !json["accessToken"].is_string())
      return Error(ErrorCode::kPermissionDenied, login);
    std::string endpoint = environment_("AWS_ENDPOINT_URL_SSO");
    if (endpoint.empty()) endpoint = fmt::format("https://portal.sso.{}.amazonaws.com", region);
    BlockingRequest request;
    request.url = fmt::format("{}/federation/credentials?role_name={}&account_id={}", endpoint,
                              encode_segment(role), encode_segment(account));
    request.headers = {"x-amz-sso_bearer_token: " + json["accessToken"].get<std::string>()};
    RC_ASSIGN(const BlockingAnswer answer, ask(request));
    const Json given = Json::parse(answer.body, nullptr, false);
    if (answer.status != 200 || !given.is_object() || !given.contains("roleCredentials"))
      return Error(ErrorCode::kPermissionDenied, fmt::format("{} (HTTP {})", login, answer.status));
    const Json& keys = given["roleCredentials"];
    TimedCredentials found;
    found.keys = {keys.value("accessKeyId", ""), keys.value("secretAccessKey", ""),
                  keys.value("sessionToken", "")};
    if (const auto expires = keys.find("expiration");
        expires != keys.end() && expires->is_number_integer())
      found.expires_s = expires->get<std::int64_t>() / 1000;
    return std::optional(std::move(found));
  }

  Found from_container() {
    const std::string relative = environment_("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const std::string full = environment_("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (relative.empty() && full.empty()) return std::optional<TimedCredentials>();
    BlockingRequest request;
    request.url = relative.empty() ? full : "http://169.254.170.2" + relative;
    if (!may_hand_out_credentials(request.url))
      return broken("AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, or on this machine: " +
                    redact_url(request.url));
    std::string token = environment_("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    if (const std::string file = environment_("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
        !file.empty()) {
      RC_ASSIGN(token, contents(file));
    }
    if (!token.empty()) request.headers.push_back("Authorization: " + token);
    RC_ASSIGN(const BlockingAnswer answer, ask(request));
    if (answer.status != 200)
      return Error(ErrorCode::kPermissionDenied,
                   fmt::format("{}: HTTP {}", redact_url(request.url), answer.status));
    return from_json(answer.body, "the container's endpoint");
  }

  /// Over plain http only where nobody else listens in: loopback, and the addresses of ECS and EKS.
  static bool may_hand_out_credentials(const std::string& url) {
    if (url.compare(0, 8, "https://") == 0) return true;
    return std::any_of(std::begin(kLocalHosts), std::end(kLocalHosts), [&](const char* host) {
      const std::string prefix = std::string("http://") + host;
      return url.compare(0, prefix.size(), prefix) == 0 &&
             (url.size() == prefix.size() || url[prefix.size()] == '/' ||
              url[prefix.size()] == ':');
    });
  }
  static constexpr const char* kLocalHosts[] = {
      "localhost", "127.0.0.1", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"};

  /// IMDSv2: a token first, then the role's name, then its credentials.
  Found from_instance() {
    if (environment_("AWS_EC2_METADATA_DISABLED") == "true")
      return std::optional<TimedCredentials>();
    std::string endpoint = environment_("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    if (endpoint.empty()) endpoint = "http://169.254.169.254";
    while (endpoint.back() == '/') endpoint.pop_back();
    constexpr long kTimeout_ms = 1'000;  // whoever is no instance should not wait long
    const auto token = ask({"PUT",
                            endpoint + "/latest/api/token",
                            {"X-aws-ec2-metadata-token-ttl-seconds: 21600"},
                            kTimeout_ms});
    if (!token || token->status != 200) return std::optional<TimedCredentials>();
    const std::string header = "X-aws-ec2-metadata-token: " + trimmed(token->body);
    const std::string path = endpoint + "/latest/meta-data/iam/security-credentials/";
    const auto role = ask({"GET", path, {header}, kTimeout_ms});
    if (!role || role->status != 200) return std::optional<TimedCredentials>();
    const std::string name = trimmed(role->body.substr(0, role->body.find('\n')));
    RC_ASSIGN(const BlockingAnswer answer,
              ask({"GET", path + encode_segment(name), {header}, kTimeout_ms}));
    if (answer.status != 200) return broken(fmt::format("{}: HTTP {}", path, answer.status));
    return from_json(answer.body, "the instance's metadata service");
  }

  const S3Options& options_;
  const Environment& environment_;
  const AwsFiles files_;
  std::string region_;
};

}  // namespace

Result<TimedCredentials> find_credentials(const S3Options& options,
                                          const Environment& environment) {
  return Finder(options, environment).find();
}

CredentialCache::CredentialCache(Find find, const Clock& clock)
    : find_(std::move(find)), clock_(clock), worker_("rc-creds", 1) {}

void CredentialCache::prepare(UniqueFunction<void(Result<void>)> done) {
  std::optional<Result<void>> answer;
  bool look_now = false;
  {
    MutexLock lock(mu_);
    const bool due = !look_s_ ? !usable_ : clock_.unix_s() >= *look_s_;
    look_now = due && !std::exchange(looking_, true);
    if (usable_)
      answer = Result<void>();
    else if (error_ && !looking_)
      answer = Result<void>(*error_);
    else
      waiting_.push_back(std::move(done));
  }
  if (look_now) worker_.post([this] { look(); });
  if (answer) done(*std::move(answer));
}

std::shared_ptr<const AwsCredentials> CredentialCache::current() {
  MutexLock lock(mu_);
  return current_;
}

void CredentialCache::expired(const std::shared_ptr<const AwsCredentials>& keys) {
  MutexLock lock(mu_);
  if (keys != current_) return;
  usable_ = false;
  error_.reset();
  look_s_.reset();
}

void CredentialCache::take(TimedCredentials found) {
  current_ = std::make_shared<const AwsCredentials>(std::move(found.keys));
  usable_ = true;
  error_.reset();
  look_s_.reset();
  if (!found.expires_s) return;
  const std::int64_t left_s = std::max<std::int64_t>(0, *found.expires_s - clock_.unix_s());
  look_s_ = *found.expires_s - std::min(kRenewBefore_s, left_s / 2);
}

void CredentialCache::look() {
  auto found = find_();
  std::vector<UniqueFunction<void(Result<void>)>> waiting;
  Result<void> result;
  {
    MutexLock lock(mu_);
    looking_ = false;
    waiting.swap(waiting_);
    if (found) {
      take(*std::move(found));
    } else {
      error_ = found.error();
      look_s_ = clock_.unix_s() + (usable_ ? kTryAgainAfter_s : kTrySoonAgainAfter_s);
      result = found.error();
      if (usable_) log_warning("new credentials cannot be had: {}", error_->message());
    }
  }
  for (auto& done : waiting) done(result);
}

}  // namespace rangecache::fetcher
