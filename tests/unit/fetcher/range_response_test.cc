#include "fetcher/range_response.h"

#include <gtest/gtest.h>

namespace rangecache::fetcher {
namespace {

using Fields = std::vector<std::pair<const char*, const char*>>;
const Validator kV1{Validator::Kind::kEtag, "\"v1\""};

std::variant<RangeBody, HttpFailure> judge(int status, const Fields& fields,
                                           const RangeQuestion& question = {{10, 20}, {}, {}}) {
  HttpResponse response;
  response.status = status;
  for (const auto& [name, value] : fields) response.headers.add(name, value);
  return judge_range_response(response, question, "http://h/f", 0);
}

ErrorCode code_of(const std::variant<RangeBody, HttpFailure>& judgement) {
  const auto* failure = std::get_if<HttpFailure>(&judgement);
  return failure ? failure->error.code : ErrorCode{0};
}

TEST(RangeResponse, TakesWhatWasAskedForOrAPrefix) {
  for (const char* range : {"bytes 10-19/100", "bytes 10-14/100", "bytes 10-14/15"}) {
    const auto judgement = judge(206, {{"Content-Range", range}});
    const auto* body = std::get_if<RangeBody>(&judgement);
    ASSERT_TRUE(body) << range;
    EXPECT_EQ(body->range.begin, 10u);
  }
}

TEST(RangeResponse, HT04_WiderOrOtherRangesAreRefused) {
  for (const char* range :
       {"bytes 9-19/100", "bytes 11-19/100", "bytes 10-20/100", "bytes 0-99/100"})
    EXPECT_EQ(code_of(judge(206, {{"Content-Range", range}})), ErrorCode::kOriginFailed) << range;
}

TEST(RangeResponse, HT05_HT06_ContentRangeMustStandThereOnceAndBeValid) {
  EXPECT_EQ(code_of(judge(206, {})), ErrorCode::kOriginFailed);
  EXPECT_EQ(code_of(judge(206, {{"Content-Range", "bytes 10-19/15"}})), ErrorCode::kOriginFailed);
  EXPECT_EQ(code_of(judge(206, {{"Content-Range", "bytes */100"}})), ErrorCode::kOriginFailed);
  EXPECT_EQ(code_of(judge(
                206, {{"Content-Range", "bytes 10-19/100"}, {"Content-Range", "bytes 10-19/100"}})),
            ErrorCode::kOriginFailed);
}

TEST(RangeResponse, HT07_AnotherTotalMeansAnotherVersion) {
  const RangeQuestion known{{10, 20}, kV1, 100};
  EXPECT_EQ(code_of(judge(206, {{"Content-Range", "bytes 10-19/101"}, {"ETag", "\"v1\""}}, known)),
            ErrorCode::kStale);
  EXPECT_EQ(code_of(judge(200, {{"Content-Length", "101"}, {"ETag", "\"v1\""}}, known)),
            ErrorCode::kStale);
  EXPECT_EQ(code_of(judge(206, {{"Content-Range", "bytes 10-19/*"}, {"ETag", "\"v1\""}}, known)),
            ErrorCode{0});
}

TEST(RangeResponse, BytesBehindTheKnownEndMeanAnotherVersion) {
  const RangeQuestion known{{10, 20}, kV1, 15};
  EXPECT_EQ(code_of(judge(206, {{"Content-Range", "bytes 10-19/*"}, {"ETag", "\"v1\""}}, known)),
            ErrorCode::kStale);
}

TEST(RangeResponse, HT09_MultipartIsRefused) {
  EXPECT_EQ(code_of(judge(206, {{"Content-Type", "multipart/byteranges; boundary=x"},
                                {"Content-Range", "bytes 10-19/100"}})),
            ErrorCode::kOriginFailed);
}

TEST(RangeResponse, HT11_LengthsMustAgree) {
  for (const char* length : {"9", "11", "0"})
    EXPECT_EQ(
        code_of(judge(206, {{"Content-Range", "bytes 10-19/100"}, {"Content-Length", length}})),
        ErrorCode::kOriginFailed)
        << length;
}

TEST(RangeResponse, HT15_WithoutATotalThereIsNoObject) {
  EXPECT_EQ(code_of(judge(206, {{"Content-Range", "bytes 10-19/*"}})), ErrorCode::kUnsupported);
  EXPECT_EQ(code_of(judge(200, {})), ErrorCode::kUnsupported);
}

TEST(RangeResponse, HT36_EncodedBodiesAreRefused) {
  for (const int status : {200, 206})
    EXPECT_EQ(code_of(judge(status, {{"Content-Encoding", "gzip"},
                                     {"Content-Length", "10"},
                                     {"Content-Range", "bytes 10-19/100"}})),
              ErrorCode::kUnsupported);
  EXPECT_EQ(
      code_of(judge(206, {{"Content-Encoding", "Identity"}, {"Content-Range", "bytes 10-19/100"}})),
      ErrorCode{0});
}

TEST(RangeResponse, UnsatisfiableInsideAKnownVersionIsAChange) {
  EXPECT_EQ(code_of(judge(416, {{"Content-Range", "bytes */5"}}, {{10, 20}, kV1, {}})),
            ErrorCode::kStale);
  EXPECT_EQ(code_of(judge(416, {{"Content-Range", "bytes */5"}}, {{10, 20}, {}, 100})),
            ErrorCode::kStale);
}

TEST(RangeResponse, HT32_UnsatisfiableAtFirstContactTellsTheLength) {
  const auto judgement = judge(416, {{"Content-Range", "bytes */5"}});
  const auto* body = std::get_if<RangeBody>(&judgement);
  ASSERT_TRUE(body);
  EXPECT_TRUE(body->range.empty());
  EXPECT_EQ(body->attributes.size, 5u);
  EXPECT_EQ(code_of(judge(416, {})), ErrorCode::kOriginFailed);
  EXPECT_EQ(code_of(judge(416, {{"Content-Range", "bytes */50"}})), ErrorCode::kOriginFailed);
}

}  // namespace
}  // namespace rangecache::fetcher
