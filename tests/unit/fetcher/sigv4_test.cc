#include "fetcher/sigv4.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace rangecache::fetcher {
namespace {

using testing::EndsWith;
using testing::StartsWith;

/// The examples of "Authenticating Requests: Using the Authorization Header (AWS Signature Version
/// 4)" in the Amazon S3 API reference.
class SigV4Examples : public testing::Test {
 protected:
  static constexpr std::int64_t kTime = 1369353600;  // 2013-05-24T00:00:00Z

  SigV4::Request request(std::string_view method, std::string_view path,
                         std::string_view query = "") {
    SigV4::Request wanted{method, path, query, {}, SigV4::kEmptyPayload};
    wanted.headers = {{"x-amz-date", SigV4::timestamp(kTime)},
                      {"host", "examplebucket.s3.amazonaws.com"},
                      {"x-amz-content-sha256", std::string(SigV4::kEmptyPayload)}};
    return wanted;
  }

  const AwsCredentials credentials_{"AKIAIOSFODNN7EXAMPLE",
                                    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
  SigV4 signer_{"us-east-1"};
};

TEST_F(SigV4Examples, GetObject) {
  auto wanted = request("GET", "/test.txt");
  wanted.headers.emplace_back("range", "bytes=0-9");
  EXPECT_EQ(signer_.authorization(wanted, credentials_, kTime),
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
            "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
            "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

TEST_F(SigV4Examples, GetBucketLifecycle) {
  EXPECT_THAT(
      signer_.authorization(request("GET", "/", "lifecycle"), credentials_, kTime),
      EndsWith("Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"));
}

TEST_F(SigV4Examples, ListObjects) {
  EXPECT_THAT(
      signer_.authorization(request("GET", "/", "prefix=J&max-keys=2"), credentials_, kTime),
      EndsWith("Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"));
}

TEST_F(SigV4Examples, TheKeyChangesWithTheDayAndTheSecret) {
  const std::string first = signer_.authorization(request("GET", "/a"), credentials_, kTime);
  const std::string tomorrow =
      signer_.authorization(request("GET", "/a"), credentials_, kTime + 86400);
  EXPECT_THAT(tomorrow, StartsWith("AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130525/"));
  AwsCredentials other = credentials_;
  other.secret_access_key += "x";
  EXPECT_NE(signer_.authorization(request("GET", "/a"), other, kTime), first);
  EXPECT_EQ(signer_.authorization(request("GET", "/a"), credentials_, kTime), first);
}

}  // namespace
}  // namespace rangecache::fetcher
