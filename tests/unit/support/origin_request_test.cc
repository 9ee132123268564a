#include "tests/support/origin_request.h"

#include <gtest/gtest.h>

namespace rangecache::test {
namespace {

const Representation kFile{1000, "\"tag\"", 1'700'000'000};

Decision ask(std::map<std::string, std::string> headers, const char* method = "GET") {
  return decide({method, "/f", std::move(headers)}, kFile);
}

struct RangeCase {
  const char* text;
  int status;
  ByteRange body;
};

TEST(OriginRequest, RangesAreReadAsRfc9110Says) {
  for (const RangeCase& c : {RangeCase{"bytes=0-99", 206, {0, 100}},
                             {"bytes=900-", 206, {900, 1000}},
                             {"bytes=-100", 206, {900, 1000}},
                             {"bytes=-5000", 206, {0, 1000}},
                             {"bytes=990-5000", 206, {990, 1000}},
                             {"bytes=1000-", 416, {}},
                             {"bytes=-0", 416, {}},
                             {"bytes=5-4", 200, {0, 1000}},
                             {"bytes=0-18446744073709551615", 206, {0, 1000}},
                             {"bytes=a-5", 200, {0, 1000}},
                             {"bytes=-", 200, {0, 1000}},
                             {"bytes=a-b", 200, {0, 1000}},
                             {"items=0-1", 200, {0, 1000}},
                             {"bytes=0-1,3-4", 200, {0, 1000}}}) {
    const Decision decision = ask({{"range", c.text}});
    EXPECT_EQ(decision.status, c.status) << c.text;
    EXPECT_EQ(decision.body, c.body) << c.text;
  }
}

TEST(OriginRequest, PreconditionsComeInOrder) {
  EXPECT_EQ(ask({{"if-match", "\"tag\""}, {"range", "bytes=0-9"}}).status, 206);
  EXPECT_EQ(ask({{"if-match", "\"other\""}, {"range", "bytes=0-9"}}).status, 412);
  EXPECT_EQ(ask({{"if-none-match", "\"tag\""}}).status, 304);
  EXPECT_EQ(ask({{"if-none-match", "\"other\""}}).status, 200);
  EXPECT_EQ(ask({{"if-match", "\"other\""}, {"if-none-match", "\"tag\""}}).status, 412);
  EXPECT_EQ(ask({{"if-unmodified-since", http_date(1'699'999'999)}}).status, 412);
  EXPECT_EQ(ask({{"if-unmodified-since", http_date(1'700'000'000)}}).status, 200);
  EXPECT_EQ(ask({{"if-modified-since", http_date(1'700'000'000)}}).status, 304);
}

TEST(OriginRequest, IfRangeSendsTheWholeOfAnotherVersion) {
  EXPECT_EQ(ask({{"range", "bytes=0-9"}, {"if-range", "\"tag\""}}).status, 206);
  EXPECT_EQ(ask({{"range", "bytes=0-9"}, {"if-range", "\"old\""}}).status, 200);
}

TEST(OriginRequest, TagsAreComparedAsWhole) {
  EXPECT_EQ(ask({{"if-match", "\"x\", \"tag\""}}).status, 200);
  EXPECT_EQ(ask({{"if-match", "\"a,b\", \"tag\""}}).status, 200);
  EXPECT_EQ(ask({{"if-match", "*"}}).status, 200);
  EXPECT_EQ(ask({{"if-match", "\"x\"tag\""}}).status, 412);
  EXPECT_EQ(ask({{"if-match", "W/\"tag\""}}).status, 412);
  EXPECT_EQ(ask({{"if-none-match", "W/\"tag\""}}).status, 304);
  EXPECT_EQ(ask({{"range", "bytes=0-9"}, {"if-range", "W/\"tag\""}}).status, 200);
}

TEST(OriginRequest, PathsCannotLeaveTheRoot) {
  EXPECT_EQ(path_of("/a%20b/c?x=1"), "/a b/c");
  EXPECT_EQ(path_of("/a/../../etc/passwd"), std::nullopt);
  EXPECT_EQ(path_of("/%2e%2e/etc/passwd"), std::nullopt);
  EXPECT_EQ(path_of("/a%00b"), std::nullopt);
  EXPECT_EQ(path_of("/a%2"), std::nullopt);
  EXPECT_EQ(path_of("/..a/b.."), "/..a/b..");
}

}  // namespace
}  // namespace rangecache::test
