#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fetcher/s3_origin.h"
#include "fetcher/s3_url.h"
#include "fetcher/s3_versions.h"
#include "fetcher/s3_xml.h"

namespace rangecache::fetcher {
namespace {

using testing::HasSubstr;

TEST(S3Url, BucketAndRawKey) {
  const auto url = parse_s3_url("s3://my-bucket.1/a b/c%20?d#e//f");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->bucket, "my-bucket.1");
  EXPECT_EQ(url->key, "a b/c%20?d#e//f");
  EXPECT_EQ(url->endpoint_url, "");
  EXPECT_EQ(parse_s3_url("s3://bucket")->key, "");
  EXPECT_EQ(parse_s3_url("s3://bucket/")->key, "");
}

TEST(S3Url, AVersionByItsId) {
  const auto url = parse_s3_url("s3://bucket/a?b?versionId=3/L4k.x_-");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->key, "a?b");
  EXPECT_EQ(url->version_id, "3/L4k.x_-");
  EXPECT_FALSE(parse_s3_url("s3://bucket/a?versionId="));
}

TEST(S3Versions, RemembersTheNewestOnes) {
  S3Versions versions(2);
  const Validator tag{Validator::Kind::kEtag, "\"t\""}, other{Validator::Kind::kEtag, "\"o\""};
  versions.remember("a", tag, "1");
  versions.remember("a", other, "2");
  versions.remember("b", tag, "null");
  EXPECT_EQ(versions.find("a", tag), "1");
  EXPECT_EQ(versions.find("b", tag), std::nullopt);
  versions.remember("a", tag, "1");
  versions.remember("c", tag, "3");
  EXPECT_EQ(versions.find("a", tag), std::nullopt) << "the oldest is forgotten";
  EXPECT_EQ(versions.find("a", other), "2");
  EXPECT_EQ(versions.find("c", tag), "3");
}

TEST(S3Url, WithAnEndpoint) {
  const auto url = parse_s3_url("s3+http://127.0.0.1:9000/bucket/key");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->endpoint_url, "http://127.0.0.1:9000");
  EXPECT_EQ(url->bucket, "bucket");
  EXPECT_EQ(url->key, "key");
}

TEST(S3Url, BadOnesAreRefused) {
  for (const char* bad : {"s3://", "s3:///key", "s3://a", "s3://bu cket/k", "s3://bu@cket",
                          "s3+http:///bucket/k", "s3+http://host", "s3+https://host/"}) {
    EXPECT_FALSE(parse_s3_url(bad)) << bad;
  }
  EXPECT_FALSE(parse_s3_url("s3://bucket/" + std::string(1025, 'x')));
  EXPECT_FALSE(parse_s3_url(std::string_view("s3://bucket/a\0b", 15)));
}

TEST(S3Addressing, PathVirtualAndNamesThatNoCertificateCovers) {
  S3Settings aws{"", "eu-west-1", false};
  EXPECT_EQ(S3Origin::base_url(aws, "bucket"), "https://bucket.s3.eu-west-1.amazonaws.com");
  EXPECT_EQ(S3Origin::base_url(aws, "a.b.c"), "https://s3.eu-west-1.amazonaws.com/a.b.c");
  S3Settings other{"http://h:9000/base", "x", true};
  EXPECT_EQ(S3Origin::base_url(other, "bucket"), "http://h:9000/base/bucket");
  other.path_style = false;
  EXPECT_EQ(S3Origin::base_url(other, "bucket"), "http://bucket.h:9000/base");
}

std::string listing(const std::string& inner) {
  return "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult "
         "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>" +
         inner + "</ListBucketResult>";
}
std::string object(const std::string& key, const std::string& size = "5") {
  return "<Contents><Key>" + key + "</Key><LastModified>2023-05-06T07:08:09.123Z</LastModified>" +
         "<ETag>&quot;abc-2&quot;</ETag><Size>" + size + "</Size></Contents>";
}
std::string below(const std::string& prefix) {
  return "<CommonPrefixes><Prefix>" + prefix + "</Prefix></CommonPrefixes>";
}

TEST(S3Listing, ObjectsAndDirectories) {
  const auto page = parse_s3_listing(
      listing("<IsTruncated>true</IsTruncated><NextContinuationToken>t+/=</NextContinuationToken>" +
              object("d/a%20b%2Bc+d") + below("d/sub%2F") + object("d/")),
      "d/");
  ASSERT_TRUE(page) << page.error().message();
  ASSERT_EQ(page->page.entries.size(), 2u);
  EXPECT_EQ(page->page.entries[0].name, "sub");
  EXPECT_TRUE(page->page.entries[0].is_directory);
  const ListEntry& file = page->page.entries[1];
  EXPECT_EQ(file.name, "a b+c d");
  EXPECT_EQ(file.size, 5u);
  EXPECT_EQ(file.modified_s, 1683356889);
  EXPECT_EQ(file.validator.value, "\"abc-2\"");
  EXPECT_EQ(page->page.next_token, "t+/=");
  EXPECT_TRUE(page->page.complete);
  EXPECT_TRUE(page->has_marker);
  EXPECT_EQ(page->page.hidden_entries, 0u);
}

TEST(S3Listing, WhatNoPathCanNameIsCounted) {
  const auto page = parse_s3_listing(
      listing(object("both") + below("both/") + below("/") + below("./") + below("../") +
              object(".") + object("..") + object("a%00b") + object(std::string(256, 'x')) +
              object("%zz") + below("fine/") + below("fine/")),
      "");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->page.entries.size(), 2u) << "both and fine, as directories";
  EXPECT_EQ(page->page.hidden_entries, 9u);
}

TEST(S3Listing, OtherAnswersAreErrors) {
  const std::string bad_ones[] = {
      "",
      "<html></html>",
      "{}",
      "<ListBucketResult><Contents>",
      listing("<IsTruncated>true</IsTruncated>"),
      "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><ListBucketResult>"};
  for (const std::string& bad : bad_ones) {
    EXPECT_FALSE(parse_s3_listing(bad, "")) << bad;
  }
}

TEST(S3Listing, EntitiesThatGrowAreNotExpanded) {
  std::string bomb = "<!DOCTYPE R [<!ENTITY a \"" + std::string(1000, 'x') + "\">]>";
  std::string many;
  for (int i = 0; i < 1000; ++i) many += "&a;";
  EXPECT_FALSE(parse_s3_listing(
      bomb + "<ListBucketResult><Name>" + many + "</Name></ListBucketResult>", ""));
  bomb += "<Error><Code>" + many + "</Code></Error>";
  EXPECT_FALSE(parse_s3_error(bomb));
  EXPECT_TRUE(xml_texts(bomb).empty());
}

TEST(S3Listing, ATagThatIsNoneIsNoValidator) {
  for (const char* tag : {"\"a&#13;&#10;Range: bytes=0-0\"", "a b", "W/&quot;a&quot;"}) {
    const auto page = parse_s3_listing(
        listing("<Contents><Key>k</Key><ETag>" + std::string(tag) + "</ETag></Contents>"), "");
    ASSERT_TRUE(page && page->page.entries.size() == 1) << tag;
    EXPECT_EQ(page->page.entries[0].validator.kind, Validator::Kind::kNone) << tag;
  }
}

TEST(S3Listing, SizesAndTimesThatAreNoneAreUnknown) {
  const auto page = parse_s3_listing(
      listing(object("a", "-1") + object("b", "72057594037927936") + object("c", "")), "");
  ASSERT_TRUE(page);
  for (const ListEntry& entry : page->page.entries) EXPECT_FALSE(entry.size) << entry.name;
}

TEST(S3Failure, SaysCodeMessageRequestAndRemedy) {
  HttpResponse response;
  response.status = 403;
  const Error refused =
      s3_failure(response,
                 "<Error><Code>SignatureDoesNotMatch</Code><Message>It does not match.</Message>"
                 "<RequestId>4442587FB7D0A2F9</RequestId></Error>",
                 "s3://bucket/", 0);
  EXPECT_THAT(refused.message(),
              HasSubstr("s3://bucket/: HTTP 403 SignatureDoesNotMatch: It does not match. (request "
                        "4442587FB7D0A2F9); check the secret access key and --region"));
  EXPECT_EQ(refused.code, ErrorCode::kOriginFailed);
  EXPECT_EQ(s3_failure(response, "<Error><Code>AccessDenied</Code></Error>", "s3://b/", 0).code,
            ErrorCode::kPermissionDenied);
  EXPECT_THAT(s3_failure(response, "<html>", "s3://b/", 0).message(), HasSubstr("HTTP 403"));
  response.status = 301;
  response.headers.add("x-amz-bucket-region", "eu-west-3");
  EXPECT_THAT(s3_failure(response, "", "s3://b/", 0).message(),
              HasSubstr("the bucket is in the region eu-west-3: use --region eu-west-3"));
}

}  // namespace
}  // namespace rangecache::fetcher
