#include "fetcher/s3_signer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "base/clock.h"
#include "fetcher/origins.h"
#include "tests/unit/fetcher/recording_sink.h"
#include "tests/unit/fetcher/scripted_server.h"

namespace rangecache::fetcher {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

Result<void> prepared(CredentialCache& cache) {
  std::promise<Result<void>> ready;
  cache.prepare([&](Result<void> result) { ready.set_value(std::move(result)); });
  return ready.get_future().get();
}

std::shared_ptr<CredentialCache> credentials(const Clock& clock) {
  auto cache = std::make_shared<CredentialCache>(
      []() -> Result<TimedCredentials> {
        return TimedCredentials{{"AKID", "secret", "token"}, {}};
      },
      clock);
  EXPECT_TRUE(prepared(*cache));
  return cache;
}

HttpRequest request(const std::string& url) {
  HttpRequest made;
  made.url = url;
  return made;
}

HttpResponse refusal(int status, const std::string& name, const std::string& value) {
  HttpResponse response;
  response.status = status;
  response.headers.add(name, value);
  return response;
}

TEST(S3Signer, SignsHostTimeTokenAndPayer) {
  ManualClock clock;
  S3Signer signer(credentials(clock), "eu-west-1", S3Options{.requester_pays = true}, clock);
  HttpRequest made = request("http://h:9000/bucket/?list-type=2");
  signer.sign(made);
  EXPECT_THAT(made.headers, Contains("x-amz-security-token: token"));
  EXPECT_THAT(made.headers, Contains("x-amz-request-payer: requester"));
  EXPECT_THAT(made.headers, Contains("x-amz-date: 20231114T221320Z"));
  EXPECT_THAT(
      made.headers,
      Contains(HasSubstr("SignedHeaders=host;x-amz-checksum-mode;x-amz-content-sha256;x-amz-date;"
                         "x-amz-request-payer;x-amz-security-token,Signature=")));
  for (const std::string& header : made.headers) EXPECT_THAT(header, Not(HasSubstr("secret:")));
}

TEST(S3Signer, MayLeaveThePayloadUnsigned) {
  ManualClock clock;
  S3Signer signer(credentials(clock), "eu-west-1", S3Options{.unsigned_payload = true}, clock);
  HttpRequest made = request("http://h:9000/bucket/key");
  signer.sign(made);
  EXPECT_THAT(made.headers, Contains("x-amz-content-sha256: UNSIGNED-PAYLOAD"));
}

TEST(S3Signer, LearnsTheRegionAndGoesThere) {
  ManualClock clock;
  S3Signer signer(credentials(clock), "us-east-1", {}, clock);
  const HttpResponse told = refusal(301, "x-amz-bucket-region", "eu-west-3");
  EXPECT_TRUE(signer.learn_from(told, ""));
  EXPECT_FALSE(signer.learn_from(told, "")) << "it is known already";
  HttpRequest made =
      request("https://bucket.s3.us-east-1.amazonaws.com/s3.us-east-1.amazonaws.com");
  signer.sign(made);
  EXPECT_EQ(made.url, "https://bucket.s3.eu-west-3.amazonaws.com/s3.us-east-1.amazonaws.com");
  EXPECT_THAT(made.headers, Contains(HasSubstr("/eu-west-3/s3/aws4_request")));
  for (const char* bad : {"", "evil.example/", "a b"})
    EXPECT_FALSE(signer.learn_from(refusal(301, "x-amz-bucket-region", bad), ""));
}

TEST(S3Signer, LearnsTheTimeFromARefusal) {
  ManualClock clock;  // 2023-11-14T22:13:20Z
  S3Signer signer(credentials(clock), "us-east-1", {}, clock);
  EXPECT_FALSE(signer.learn_from(refusal(403, "date", "Tue, 14 Nov 2023 22:14:20 GMT"), ""));
  EXPECT_FALSE(signer.learn_from(refusal(404, "date", "Wed, 15 Nov 2023 22:13:20 GMT"), ""));
  EXPECT_FALSE(signer.learn_from(refusal(403, "date", "garbage"), ""));
  EXPECT_TRUE(signer.learn_from(refusal(403, "date", "Wed, 15 Nov 2023 22:13:20 GMT"), ""));
  EXPECT_FALSE(signer.learn_from(refusal(403, "date", "Wed, 15 Nov 2023 22:13:25 GMT"), ""));
  HttpRequest made = request("http://h/b/k");
  signer.sign(made);
  EXPECT_THAT(made.headers, Contains("x-amz-date: 20231115T221320Z"));
}

/// Through Origins, against a server that refuses once.
class S3Refusals : public testing::Test {
 protected:
  std::shared_ptr<Origin> origin(const ScriptedServer& server) {
    OriginsOptions options;
    options.each.s3.endpoint_url = server.url();
    options.clock = &clock_;
    options.environment = [](const char* name) {
      const std::string_view wanted = name;
      return std::string(wanted == "AWS_ACCESS_KEY_ID"       ? "AKID"
                         : wanted == "AWS_SECRET_ACCESS_KEY" ? "top-secret"
                                                             : "");
    };
    origins_ = std::make_unique<Origins>(std::move(options), metrics_);
    const auto address = origins_->resolve("s3://bucket/");
    EXPECT_TRUE(address) << address.error().message();
    return address->origin;
  }
  static Result<ListPage> list(Origin& origin) {
    std::promise<Result<ListPage>> promise;
    origin.list("", "", [&](Result<ListPage> page) { promise.set_value(std::move(page)); });
    return promise.get_future().get();
  }

  Metrics metrics_;
  ManualClock clock_;
  std::unique_ptr<Origins> origins_;
};

const char* const kEmptyListing = "<ListBucketResult></ListBucketResult>";

TEST_F(S3Refusals, AWrongClockIsCorrectedOnceAndForAll) {
  ScriptedServer server({{http_reply("403 Forbidden", {"Date: Wed, 15 Nov 2023 22:13:20 GMT"},
                                     "<Error><Code>RequestTimeTooSkewed</Code></Error>")},
                         {http_reply("200 OK", {}, kEmptyListing)},
                         {http_reply("200 OK", {}, kEmptyListing)}});
  const auto bucket = origin(server);
  EXPECT_TRUE(list(*bucket));
  EXPECT_TRUE(list(*bucket));
  const auto requests = server.requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[0].headers.at("x-amz-date"), "20231114T221320Z");
  EXPECT_EQ(requests[1].headers.at("x-amz-date"), "20231115T221320Z");
  EXPECT_EQ(requests[2].headers.at("x-amz-date"), "20231115T221320Z");
}

TEST_F(S3Refusals, ARefusalThatTeachesNothingIsFinal) {
  ScriptedServer server({{http_reply("403 Forbidden", {"Date: Tue, 14 Nov 2023 22:13:21 GMT"},
                                     "<Error><Code>AccessDenied</Code></Error>")}});
  const auto bucket = origin(server);
  const auto page = list(*bucket);
  ASSERT_FALSE(page);
  EXPECT_THAT(page.error().message(), StartsWith("s3://bucket/: HTTP 403 AccessDenied; "));
  EXPECT_EQ(server.requests().size(), 1u);
}

TEST_F(S3Refusals, ReadsAndLookUpsSayWhatTheServiceSaid) {
  const std::string archived = http_reply(
      "403 Forbidden", {},
      "<Error><Code>InvalidObjectState</Code><Message>The operation is not valid for the "
      "object's storage class</Message><RequestId>R1</RequestId></Error>");
  const std::string denied =
      http_reply("403 Forbidden", {}, "<Error><Code>AccessDenied</Code></Error>");
  ScriptedServer server({{archived}, {http_reply("403 Forbidden", {}, "")}, {denied}});
  const auto bucket = origin(server);
  auto sink = std::make_shared<RecordingSink>();
  bucket->fetch({"old/key", {0, 10}}, sink);
  const auto read = sink->wait();
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kPermissionDenied);
  EXPECT_THAT(read.error().context,
              StartsWith("s3://bucket/old/key: HTTP 403 InvalidObjectState: "));
  EXPECT_THAT(read.error().context, HasSubstr("(request R1); the object is archived: restore it"));

  // A HEAD has no body: a GET of a byte asks for the reason.
  std::promise<Result<StatResult>> promise;
  bucket->stat("key", {}, [&](Result<StatResult> r) { promise.set_value(std::move(r)); });
  const auto looked_up = promise.get_future().get();
  ASSERT_FALSE(looked_up);
  EXPECT_THAT(looked_up.error().context, HasSubstr("without s3:ListBucket"));
}

TEST_F(S3Refusals, AnExpiredTokenIsReplacedAndTheReadGoesOn) {
  ScriptedServer server(
      {{http_reply("400 Bad Request", {}, "<Error><Code>ExpiredToken</Code></Error>")},
       {http_reply("206 Partial Content", {"ETag: \"v1\"", "Content-Range: bytes 0-1/2"}, "ab")}});
  const auto bucket = origin(server);
  auto sink = std::make_shared<RecordingSink>();
  bucket->fetch({"key", {0, 2}}, sink);
  ASSERT_TRUE(sink->wait()) << sink->wait().error().message();
  EXPECT_EQ(sink->data(), "ab");
}

TEST_F(S3Refusals, SlowDownIsWaitedFor) {
  ScriptedServer server(
      {{http_reply("503 Slow Down", {"Retry-After: 0"}, "<Error><Code>SlowDown</Code></Error>")},
       {http_reply("200 OK", {}, kEmptyListing)}});
  const auto bucket = origin(server);
  EXPECT_TRUE(list(*bucket));
  EXPECT_EQ(metrics_.counter("rangecache_origin_slowdowns_total", "").value(), 1u);
}

TEST_F(S3Refusals, ASignatureIsNotTakenToAnotherHost) {
  ScriptedServer other({{http_reply("200 OK", {}, kEmptyListing)}});
  ScriptedServer server({{http_reply("307 Temporary Redirect", {"Location: " + other.url()}, "")}});
  const auto bucket = origin(server);
  EXPECT_FALSE(list(*bucket));
  EXPECT_TRUE(other.requests().empty());
}

TEST(S3Signer, ExpiredCredentialsAreLookedForAgain) {
  ManualClock clock;
  int asked = 0;
  auto cache = std::make_shared<CredentialCache>(
      [&]() -> Result<TimedCredentials> {
        return TimedCredentials{{"key" + std::to_string(++asked), "s", "t"}, {}};
      },
      clock);
  ASSERT_TRUE(prepared(*cache));
  S3Signer signer(cache, "us-east-1", {}, clock);
  HttpRequest first = request("http://h:9000/bucket/key");
  signer.sign(first);
  EXPECT_THAT(first.headers, Contains(HasSubstr("Credential=key1/")));
  const std::string body = "<Error><Code>ExpiredToken</Code></Error>";
  HttpResponse refused;
  refused.status = 400;
  EXPECT_TRUE(signer.learn_from(refused, body));
  ASSERT_TRUE(prepared(*cache));
  HttpRequest second = request("http://h:9000/bucket/key");
  signer.sign(second);
  EXPECT_THAT(second.headers, Contains(HasSubstr("Credential=key2/")));
  EXPECT_FALSE(signer.learn_from(refused, "<Error><Code>AccessDenied</Code></Error>"));
}

}  // namespace
}  // namespace rangecache::fetcher
