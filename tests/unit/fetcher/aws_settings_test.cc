#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <map>
#include <thread>

#include "fetcher/aws_credentials.h"
#include "fetcher/run_command.h"
#include "tests/unit/fetcher/scripted_server.h"

namespace rangecache::fetcher {
namespace {

using testing::HasSubstr;

class AwsSettings : public testing::Test {
 protected:
  AwsSettings() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "rangecache-aws-XXXXXX").string();
    home_ = ::mkdtemp(pattern.data());
    std::filesystem::create_directories(home_ / ".aws");
    variables_["HOME"] = home_.string();
    variables_["AWS_EC2_METADATA_DISABLED"] = "true";
  }
  ~AwsSettings() override { std::filesystem::remove_all(home_); }

  void write(const char* name, const std::string& text) {
    std::ofstream(home_ / ".aws" / name) << text;
  }
  Environment environment() {
    return [this](const char* name) {
      const auto found = variables_.find(name);
      return found == variables_.end() ? std::string() : found->second;
    };
  }
  Result<S3Settings> resolve() { return resolve_s3_settings(options_, environment()); }
  Result<TimedCredentials> find() { return find_credentials(options_, environment()); }
  std::string key_id() {
    const auto found = find();
    return found ? found->keys.access_key_id : found.error().message();
  }

  std::filesystem::path home_;
  std::map<std::string, std::string> variables_;
  S3Options options_;
};

TEST_F(AwsSettings, TheOrderIsThatOfAwssTools) {
  EXPECT_THAT(key_id(), HasSubstr("no credentials for S3: set AWS_ACCESS_KEY_ID"));
  write("config",
        "[default]\naws_access_key_id = of-config\naws_secret_access_key = s\n"
        "region = eu-north-1\n[profile work]\nregion=ap-south-1\n"
        "s3 =\n    addressing_style = path\n    other = x\nendpoint_url = http://p:1/\n");
  EXPECT_EQ(key_id(), "of-config");
  write("credentials",
        "[default]\naws_access_key_id=of-file\naws_secret_access_key=s\n"
        "[work]\naws_access_key_id=of-work\naws_secret_access_key=s\n");
  EXPECT_EQ(key_id(), "of-file");
  EXPECT_EQ(resolve()->region, "eu-north-1");
  EXPECT_FALSE(resolve()->path_style);

  variables_["AWS_PROFILE"] = "work";
  EXPECT_EQ(key_id(), "of-work");
  EXPECT_EQ(resolve()->region, "ap-south-1");
  EXPECT_EQ(resolve()->endpoint_url, "http://p:1");
  EXPECT_TRUE(resolve()->path_style);

  variables_["AWS_ACCESS_KEY_ID"] = "of-environment";
  EXPECT_THAT(key_id(), HasSubstr("only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"));
  variables_["AWS_SECRET_ACCESS_KEY"] = "s";
  EXPECT_EQ(key_id(), "of-environment");
  variables_["AWS_DEFAULT_REGION"] = "eu-west-2";
  EXPECT_EQ(resolve()->region, "eu-west-2");
  variables_["AWS_REGION"] = "eu-west-1";
  EXPECT_EQ(resolve()->region, "eu-west-1");

  options_.profile = "work";  // asked for by name: before variables
  EXPECT_EQ(key_id(), "of-work");
  options_.region = "us-west-2";
  EXPECT_EQ(resolve()->region, "us-west-2");
}

TEST_F(AwsSettings, Endpoints) {
  EXPECT_EQ(resolve()->endpoint_url, "");
  EXPECT_EQ(resolve()->region, "us-east-1");
  variables_["AWS_ENDPOINT_URL"] = "https://general:443";
  EXPECT_EQ(resolve()->endpoint_url, "https://general");
  EXPECT_TRUE(resolve()->path_style);
  variables_["AWS_ENDPOINT_URL_S3"] = "http://127.0.0.1:9000/base/";
  EXPECT_EQ(resolve()->endpoint_url, "http://127.0.0.1:9000/base");
  variables_["AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"] = "true";
  EXPECT_EQ(resolve()->endpoint_url, "");
  options_.endpoint_url = "http://option:1";
  EXPECT_EQ(resolve()->endpoint_url, "http://option:1");
  options_.addressing = "virtual";
  EXPECT_FALSE(resolve()->path_style);
  for (const char* bad : {"minio:9000", "ftp://h", "file:///x", "http://user:pw@h/"}) {
    options_.endpoint_url = bad;
    const auto settings = resolve();
    ASSERT_FALSE(settings) << bad;
    EXPECT_THAT(settings.error().message(), Not(HasSubstr("pw")));
  }
}

TEST_F(AwsSettings, AProfileThatIsNowhereIsAnError) {
  options_.profile = "wrok";
  EXPECT_THAT(key_id(), HasSubstr("the AWS profile 'wrok' is neither in"));
}

constexpr const char* kGiven =
    R"({"Version":1,"AccessKeyId":"AKID","SecretAccessKey":"s","Token":"t",
        "Expiration":"2100-01-02T03:04:05Z"})";

TEST_F(AwsSettings, AProcess) {
  write("config", "[default]\ncredential_process = cat " + (home_ / "answer").string() + "\n");
  EXPECT_THAT(key_id(), HasSubstr("the credential_process of the profile 'default' ended with 1"));
  std::ofstream(home_ / "answer") << "{}";
  EXPECT_THAT(key_id(), HasSubstr("gives no credentials"));
  std::ofstream(home_ / "answer") << kGiven;
  ASSERT_EQ(key_id(), "AKID");
  EXPECT_EQ(find()->keys.session_token, "t");
  EXPECT_EQ(find()->expires_s, 4102542245);
}

TEST_F(AwsSettings, AContainersEndpoint) {
  ScriptedServer server({{http_reply("200 OK", {}, kGiven)}, {http_reply("403 No", {}, "")}});
  variables_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = server.url("/creds");
  std::ofstream(home_ / "token") << "the-token\n";
  variables_["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = (home_ / "token").string();
  EXPECT_EQ(key_id(), "AKID");
  EXPECT_EQ(server.requests()[0].headers.at("authorization"), "the-token");
  EXPECT_THAT(key_id(), HasSubstr("HTTP 403"));
  for (const char* bad : {"http://evil.example/", "http://127.0.0.1.evil.example/", "ftp://h/"}) {
    variables_["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = bad;
    EXPECT_THAT(key_id(), HasSubstr("must be https, or on this machine"));
  }
}

TEST_F(AwsSettings, AnInstancesRole) {
  ScriptedServer server({{http_reply("200 OK", {}, "session")},
                         {http_reply("200 OK", {}, "my role\n")},
                         {http_reply("200 OK", {}, kGiven)}});
  variables_.erase("AWS_EC2_METADATA_DISABLED");
  variables_["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = server.url();
  EXPECT_EQ(key_id(), "AKID");
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[0].method, "PUT");
  EXPECT_EQ(requests[2].target, "/latest/meta-data/iam/security-credentials/my%20role");
  EXPECT_EQ(requests[2].headers.at("x-aws-ec2-metadata-token"), "session");
}

constexpr const char* kGranted =
    "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>"
    "<Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey>"
    "<SessionToken>t</SessionToken><Expiration>2100-01-02T03:04:05Z</Expiration></Credentials>"
    "</AssumeRoleResult></AssumeRoleResponse>";

TEST_F(AwsSettings, ARoleOfAnotherProfile) {
  ScriptedServer server({{http_reply("200 OK", {}, kGranted)},
                         {http_reply("403 Forbidden", {},
                                     "<ErrorResponse><Error><Code>AccessDenied</Code><Message>not "
                                     "you</Message></Error></ErrorResponse>")}});
  variables_["AWS_ENDPOINT_URL_STS"] = server.url();
  write("config",
        "[profile r]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = base\n"
        "[profile base]\naws_access_key_id = AKBASE\naws_secret_access_key = s\n"
        "[profile a]\nrole_arn = r\nsource_profile = b\n"
        "[profile b]\nrole_arn = r\nsource_profile = a\n"
        "[profile lost]\nrole_arn = r\nsource_profile = nowhere\n");
  options_.profile = "r";
  EXPECT_EQ(key_id(), "ASIA");
  const auto request = server.requests()[0];
  EXPECT_THAT(request.target,
              HasSubstr("Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx"
                        "&RoleSessionName=rangecached&Version=2011-06-15"));
  EXPECT_THAT(request.headers.at("authorization"), HasSubstr("Credential=AKBASE/"));
  EXPECT_THAT(request.headers.at("authorization"), HasSubstr("/us-east-1/sts/aws4_request"));
  EXPECT_THAT(key_id(), HasSubstr("was not granted: HTTP 403 AccessDenied not you"));
  options_.profile = "a";
  EXPECT_THAT(key_id(), HasSubstr("go in a circle"));
  options_.profile = "lost";
  EXPECT_THAT(key_id(), HasSubstr("its source_profile 'nowhere' is nowhere"));
}

TEST_F(AwsSettings, WebIdentity) {
  ScriptedServer server({{http_reply("200 OK", {}, kGranted)}});
  variables_["AWS_ENDPOINT_URL_STS"] = server.url();
  variables_["AWS_ROLE_ARN"] = "arn";
  variables_["AWS_WEB_IDENTITY_TOKEN_FILE"] = (home_ / "jwt").string();
  EXPECT_THAT(key_id(), HasSubstr("cannot read"));
  std::ofstream(home_ / "jwt") << "a.b+c\n";
  EXPECT_EQ(key_id(), "ASIA");
  const auto request = server.requests()[0];
  EXPECT_THAT(request.target, HasSubstr("WebIdentityToken=a.b%2Bc&RoleArn=arn&"));
  EXPECT_EQ(request.headers.count("authorization"), 0u);
}

TEST_F(AwsSettings, SingleSignOn) {
  ScriptedServer server(
      {{http_reply("200 OK", {},
                   R"({"roleCredentials":{"accessKeyId":"SSO","secretAccessKey":"s",
                       "sessionToken":"t","expiration":4102542245000}})")}});
  variables_["AWS_ENDPOINT_URL_SSO"] = server.url("");
  write("config",
        "[default]\nsso_session = corp\nsso_account_id = 12\nsso_role_name = reader\n"
        "[sso-session corp]\nsso_region = eu-west-1\n");
  EXPECT_THAT(key_id(), HasSubstr("run aws sso login --profile default"));
  std::filesystem::create_directories(home_ / ".aws/sso/cache");
  std::ofstream(home_ / ".aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json")
      << R"({"accessToken":"tok"})";
  EXPECT_EQ(key_id(), "SSO");
  EXPECT_EQ(find().has_value(), false) << "the server has no second answer";
  EXPECT_EQ(server.requests()[0].target, "/federation/credentials?role_name=reader&account_id=12");
  EXPECT_EQ(server.requests()[0].headers.at("x-amz-sso_bearer_token"), "tok");
}

Result<void> prepared(CredentialCache& cache) {
  std::promise<Result<void>> ready;
  cache.prepare([&](Result<void> result) { ready.set_value(std::move(result)); });
  return ready.get_future().get();
}

TEST(RunCommand, GivesOutputOrSaysHowItEnded) {
  using std::chrono::milliseconds;
  const auto said = run_command("printf 'a b'", milliseconds(60'000));
  ASSERT_TRUE(said);
  EXPECT_EQ(*said, "a b");
  EXPECT_EQ(run_command("exit 3", milliseconds(60'000)).error().context, "ended with 3");
  EXPECT_EQ(run_command("kill -9 $$", milliseconds(60'000)).error().context,
            "was ended by signal 9");
  // Also when a child of the shell keeps the pipe.
  const auto hung = run_command("cat /dev/zero | sleep 1000 & wait", milliseconds(50));
  ASSERT_FALSE(hung);
  EXPECT_EQ(hung.error().code, ErrorCode::kTimedOut);
}

TEST(CredentialCache, RenewsBeforeTheEndAndKeepsTheOldOnesMeanwhile) {
  ManualClock clock;
  std::atomic<int> asked{0};
  std::atomic<bool> fail{false};
  CredentialCache cache(
      [&]() -> Result<TimedCredentials> {
        const int n = ++asked;
        if (fail) return Error(ErrorCode::kUnreachable, "no service");
        return TimedCredentials{{"key" + std::to_string(n), "s", ""}, clock.unix_s() + 3600};
      },
      clock);
  EXPECT_EQ(asked, 0) << "nobody has asked for any";
  const auto key = [&] {
    EXPECT_TRUE(prepared(cache));
    return cache.current()->access_key_id;
  };
  EXPECT_EQ(key(), "key1");
  clock.advance_s(2900);
  EXPECT_EQ(key(), "key1");
  EXPECT_EQ(asked, 1);
  clock.advance_s(200);
  while (key() != "key2") std::this_thread::yield();
  EXPECT_EQ(asked, 2);
  fail = true;
  clock.advance_s(5000);
  EXPECT_EQ(key(), "key2") << "the service will say that they have expired";
  while (asked < 3) std::this_thread::yield();
  fail = false;
  while (key() != "key4") clock.advance_s(1);
}

TEST(CredentialCache, RemembersAFailureForAMoment) {
  ManualClock clock;
  int asked = 0;
  bool fail = true;
  CredentialCache cache(
      [&]() -> Result<TimedCredentials> {
        ++asked;
        if (fail) return Error(ErrorCode::kPermissionDenied, "no credentials anywhere");
        return TimedCredentials{{"key", "s", ""}, {}};
      },
      clock);
  for (int i = 0; i < 3; ++i) {
    const auto result = prepared(cache);
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().context, "no credentials anywhere");
  }
  EXPECT_EQ(asked, 1);
  fail = false;
  clock.advance_s(10);
  EXPECT_TRUE(prepared(cache));
  EXPECT_EQ(asked, 2);
}

TEST(CredentialCache, WhatDoesNotExpireIsAskedForOnce) {
  ManualClock clock;
  int asked = 0;
  CredentialCache cache(
      [&]() -> Result<TimedCredentials> {
        ++asked;
        return TimedCredentials{{"key", "s", ""}, {}};
      },
      clock);
  EXPECT_TRUE(prepared(cache));
  clock.advance_s(1'000'000);
  EXPECT_TRUE(prepared(cache));
  EXPECT_EQ(cache.current()->access_key_id, "key");
  EXPECT_EQ(asked, 1);
}

TEST(AwsFile, SurvivesWhatPeopleWrite) {
  const IniFile file = parse_aws_file(
      "stray = 1\n# comment\n; another\n[a]\r\nkey = value = with equals \r\n\n[profile   b c]\n"
      "nothing\nx=\n[unclosed\ny=2");
  EXPECT_EQ(file.at("a").at("key"), "value = with equals");
  EXPECT_EQ(file.at("profile b c").at("y"), "2");
  EXPECT_EQ(file.size(), 2u);
}

}  // namespace
}  // namespace rangecache::fetcher
