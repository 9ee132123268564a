#include "fetcher/aws_settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>

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
  }
  ~AwsSettings() override { std::filesystem::remove_all(home_); }

  void write(const char* name, const std::string& text) {
    std::ofstream(home_ / ".aws" / name) << text;
  }
  Result<S3Settings> resolve() {
    return resolve_s3_settings(options_, [this](const char* name) {
      const auto found = variables_.find(name);
      return found == variables_.end() ? std::string() : found->second;
    });
  }
  std::string key_id() {
    const auto settings = resolve();
    if (!settings) return settings.error().message();
    return settings->credentials ? settings->credentials->access_key_id : "anonymous";
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
  options_.anonymous = true;
  EXPECT_EQ(key_id(), "anonymous");
}

TEST_F(AwsSettings, Endpoints) {
  options_.anonymous = true;
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
