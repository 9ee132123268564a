#include "fetcher/http_headers.h"

#include <gtest/gtest.h>

namespace rangecache::fetcher {
namespace {

HttpHeaders headers(std::initializer_list<std::pair<const char*, const char*>> fields) {
  HttpHeaders result;
  for (const auto& [name, value] : fields) result.add(name, value);
  return result;
}

TEST(ContentRange, HT06_ValidFormsAreTaken) {
  const auto range = parse_content_range("bytes 2-5/10");
  ASSERT_TRUE(range && range->range);
  EXPECT_EQ(*range->range, (ByteRange{2, 6}));
  EXPECT_EQ(range->total, 10u);
  EXPECT_FALSE(parse_content_range("bytes 0-0/*")->total);
  EXPECT_EQ(parse_content_range("BYTES */10")->total, 10u);
  EXPECT_EQ(parse_content_range("bytes 0-72057594037927934/72057594037927935")->range->end,
            kMaxObjectSize);
}

TEST(ContentRange, HT06_FZ01_InvalidFormsAreRefused) {
  for (const char* text : {"",
                           "bytes",
                           "bytes ",
                           "bytes 5-2/10",
                           "bytes 0-10/10",
                           "bytes 0-9/5",
                           "bytes */*",
                           "bytes -5/10",
                           "bytes 0-/10",
                           "bytes -/10",
                           "bytes 0-5",
                           "bytes 0-5/",
                           "bytes 0-5/1x",
                           "bytes +0-5/10",
                           "bytes 0--5/10",
                           "bytes 0-5/-10",
                           "bytes  0-5/10",
                           "bytes 0 -5/10",
                           "bytes 0-5 /10",
                           "bytes 0-5/10 ",
                           "bytes=0-5/10",
                           "items 0-5/10",
                           "octets 0-5/10",
                           "bytes 0-5/10, bytes 0-5/10",
                           "bytes 0-18446744073709551615/*",
                           "bytes 0-72057594037927935/*",
                           "bytes 0-5/72057594037927936",
                           "bytes 0-18446744073709551616/*",
                           "bytes 0-5/18446744073709551616",
                           "bytes 0x0-0x5/10"})
    EXPECT_FALSE(parse_content_range(text)) << text;
  EXPECT_FALSE(parse_content_range(std::string_view("bytes 0-5/10\0", 13)));
}

TEST(ContentLength, HT41_ContradictionsAreErrors) {
  EXPECT_EQ(**content_length(headers({{"Content-Length", "5"}})), 5u);
  EXPECT_EQ(**content_length(headers({{"Content-Length", "5"}, {"Content-Length", "5"}})), 5u);
  EXPECT_FALSE(content_length(headers({}))->has_value());
  EXPECT_FALSE(content_length(headers({{"Content-Length", "5"}, {"Content-Length", "6"}})));
  EXPECT_FALSE(content_length(headers({{"Content-Length", "5, 6"}})));
  EXPECT_FALSE(content_length(headers({{"Content-Length", "-5"}})));
  EXPECT_FALSE(
      content_length(headers({{"Content-Length", "5"}, {"Transfer-Encoding", "chunked"}})));
}

TEST(EntityTag, ST14_IsTakenByteForByte) {
  EXPECT_EQ(parse_etag("\"abc\"")->tag, "\"abc\"");
  EXPECT_FALSE(parse_etag("\"abc\"")->weak);
  EXPECT_TRUE(parse_etag("W/\"abc\"")->weak);
  EXPECT_EQ(parse_etag("\"\xc3\xbc-17\"")->tag, "\"\xc3\xbc-17\"");
  EXPECT_EQ(parse_etag("\"\"")->tag, "\"\"");
  for (const char* bad :
       {"abc", "\"abc", "abc\"", "w/\"abc\"", "W/abc", "\"a\"b\"", "\"a b\"", "\"", ""})
    EXPECT_FALSE(parse_etag(bad)) << bad;
}

TEST(Validator, HT48_LastModifiedIsStrongOnlyASecondBeforeTheDate) {
  const char* modified = "Fri, 20 Nov 2026 09:15:30 GMT";
  EXPECT_EQ(validator_of(
                headers({{"Last-Modified", modified}, {"Date", "Fri, 20 Nov 2026 09:15:31 GMT"}})),
            (Validator{Validator::Kind::kLastModified, modified}));
  for (const char* date : {"Fri, 20 Nov 2026 09:15:30 GMT", "Fri, 20 Nov 2026 09:15:29 GMT", "?"})
    EXPECT_EQ(validator_of(headers({{"Last-Modified", modified}, {"Date", date}})), Validator{})
        << date;
  EXPECT_EQ(validator_of(headers({{"Last-Modified", modified}})), Validator{});
}

TEST(Validator, StrongTagGoesBeforeDateAndWeakTagDoesNot) {
  const char* modified = "Fri, 20 Nov 2026 09:15:30 GMT";
  const char* date = "Fri, 20 Nov 2026 10:00:00 GMT";
  EXPECT_EQ(
      validator_of(headers({{"ETag", "\"a\""}, {"Last-Modified", modified}, {"Date", date}})).kind,
      Validator::Kind::kEtag);
  EXPECT_EQ(
      validator_of(headers({{"ETag", "W/\"a\""}, {"Last-Modified", modified}, {"Date", date}}))
          .kind,
      Validator::Kind::kLastModified);
  EXPECT_EQ(validator_of(headers({{"ETag", "W/\"a\""}})).kind, Validator::Kind::kNone);
  EXPECT_EQ(validator_of(headers({{"ETag", "\"a\""}, {"ETag", "\"b\""}})).kind,
            Validator::Kind::kNone);
}

TEST(Validator, HT17_MissingTagDoesNotMatch) {
  const Validator expected{Validator::Kind::kEtag, "\"a\""};
  EXPECT_TRUE(matches(expected, headers({{"ETag", "\"a\""}})));
  EXPECT_FALSE(matches(expected, headers({{"ETag", "\"b\""}})));
  EXPECT_FALSE(matches(expected, headers({{"ETag", "W/\"a\""}})));
  EXPECT_FALSE(matches(expected, headers({})));
  EXPECT_TRUE(matches({}, headers({})));
  EXPECT_FALSE(matches({Validator::Kind::kPrivate, "x"}, headers({})));
}

TEST(HttpDate, TheThreeFormsAndNoOthers) {
  EXPECT_EQ(parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
  EXPECT_EQ(parse_http_date("Sunday, 06-Nov-94 08:49:37 GMT"), 784111777);
  EXPECT_EQ(parse_http_date("Sun Nov  6 08:49:37 1994"), 784111777);
  for (const char* bad :
       {"0", "", "1994-11-06", "Sun, 06 Nov 1994", "Sun, 06 Nov 1994 08:49:37 PST",
        "06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 GMT+1", "now"})
    EXPECT_FALSE(parse_http_date(bad)) << bad;
}

TEST(RetryAfter, HT30_SecondsDatesAndGarbage) {
  EXPECT_EQ(parse_retry_after("120", 0), 120);
  EXPECT_EQ(parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 784111770), 7);
  EXPECT_EQ(parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 784111999), 0);
  EXPECT_EQ(parse_retry_after("99999999999999999999999", 0), INT64_MAX);
  for (const char* bad : {"", "-1", "1.5", "soon"}) EXPECT_FALSE(parse_retry_after(bad, 0)) << bad;
}

TEST(HeaderLine, HT43_OnlyWellFormedOnes) {
  EXPECT_EQ(parse_header_line("A:  b c\t")->second, "b c");
  for (const char* bad : {"no colon", ": b", " folded: x", "a b: c", "a : c", "A: \x01", "A: b\rc"})
    EXPECT_FALSE(parse_header_line(bad)) << bad;
}

}  // namespace
}  // namespace rangecache::fetcher
